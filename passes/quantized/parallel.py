"""Work on arrays that is shared among the cores: numpy lets other threads run."""

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")

_ELEMENTS = 2**18  # of an array that a thread works on at a time, at least

_worker = threading.local()


def map_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in order; one by one if this thread is itself one of those that share work."""
    return list(iterate_threads(function, items))


def iterate_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The same, each as soon as it and those before are there."""
    return map(function, items) if hasattr(_worker, "busy") else _pool().map(function, items)


def over_images(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """`function` of arrays (N, ...), made of what it is of a few images of each.

    An array of one image stands for all. The few are as many on each machine, so that results are the same bits.
    """
    count = max(map(len, arrays))
    step = max(1, _ELEMENTS // (max(x.size // len(x) for x in arrays) or 1))
    if step >= count or hasattr(_worker, "busy"):
        return function(*arrays)
    first, *others = range(0, count, step)

    def part(start: int) -> np.ndarray:
        return function(*(x if len(x) == 1 else x[start : start + step] for x in arrays))

    head = part(first)
    result = np.empty((count, *head.shape[1:]), head.dtype)
    result[:step] = head

    def fill(start: int) -> None:
        result[start : start + step] = part(start)

    map_threads(fill, others)
    return result


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), initializer=lambda: setattr(_worker, "busy", True))


# A decorator: matrix products take one thread each. They are small here; BLAS threads would wait for each other busily,
# on a loaded machine for minutes.
single_threaded_blas = threadpool_limits.wrap(limits=1, user_api="blas")
