"""Work on arrays that is shared among the cores: numpy lets other threads run."""

import functools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")

_worker = threading.local()


def map_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in order; one by one if this thread is itself one of those that share work."""
    if hasattr(_worker, "busy"):
        return list(map(function, items))
    return list(_pool().map(function, items))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), initializer=lambda: setattr(_worker, "busy", True))


# A decorator: matrix products take one thread each. They are small here; BLAS threads would wait for each other busily,
# on a loaded machine for minutes.
single_threaded_blas = threadpool_limits.wrap(limits=1, user_api="blas")
