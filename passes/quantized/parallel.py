"""Work on arrays that is shared among the cores: numpy lets other threads run."""

import functools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")

Place = tuple[slice, ...]  # in an array, on its first axes

_ELEMENTS = 2**18  # of an array that a thread works on at a time, at least
_CACHED = 2**16  # of one that stays in the cache from one step of a function to the next
_TOGETHER = 8  # such parts that a thread takes at a time
_ALL = slice(None)

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
    results: list[np.ndarray] = []
    lock = threading.Lock()

    def fill(start: int) -> None:
        part = function(*(x if len(x) == 1 else x[start : start + step] for x in arrays))
        with lock:
            if not results:
                results.append(np.empty((count, *part.shape[1:]), part.dtype))
        results[0][start : start + step] = part

    map_threads(fill, range(0, count, step))
    return results[0]


def over_elements(
    function: Callable[..., np.ndarray], *arrays: np.ndarray, spare: np.ndarray | None = None
) -> np.ndarray:
    """`function` of the single elements of arrays that are broadcast, made part by part, which stay in the cache.

    `spare`: one of the arrays, or another, that may be overwritten: it holds the result if it has its form.
    """
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    if math.prod(shape) <= _CACHED or hasattr(_worker, "busy"):
        return function(*arrays)
    arrays = tuple(x.reshape((1,) * (len(shape) - x.ndim) + x.shape) for x in arrays)

    def operands(place: Place) -> Iterator[np.ndarray]:
        return (x[tuple(s if n > 1 else _ALL for s, n in zip(place, x.shape, strict=False))] for x in arrays)

    first, *others = _places(shape)
    head = function(*operands(first))
    fits = spare is not None and (spare.shape, spare.dtype) == (shape, head.dtype)
    result = spare if spare is not None and fits else np.empty(shape, head.dtype)
    result[first] = head

    def fill(start: int) -> None:
        for place in others[start : start + _TOGETHER]:
            if isinstance(function, np.ufunc):
                function(*operands(place), out=result[place])
            else:
                result[place] = function(*operands(place))

    map_threads(fill, range(0, len(others), _TOGETHER))
    return result


def _places(shape: tuple[int, ...]) -> Iterator[Place]:
    """The parts of an array, one after the other in memory."""
    inner = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axis = next(axis for axis, size in enumerate(inner) if size <= _CACHED)
    step = _CACHED // max(inner[axis], 1)
    for outer in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*(slice(i, i + 1) for i in outer), slice(start, start + step))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), initializer=lambda: setattr(_worker, "busy", True))


# A decorator: matrix products take one thread each. They are small here; BLAS threads would wait for each other busily,
# on a loaded machine for minutes.
single_threaded_blas = threadpool_limits.wrap(limits=1, user_api="blas")
