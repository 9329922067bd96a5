"""Work on arrays that is shared among the cores: numpy lets other threads run."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


# A decorator: matrix products take one thread each. They are small here; BLAS threads would wait for each other busily,
# on a loaded machine for minutes.
single_threaded_blas = threadpool_limits.wrap(limits=1, user_api="blas")
