"""Threads that compile take turns."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


def one_at_a_time(function: Callable[P, Result]) -> Callable[P, Result]:
    """Of the functions decorated so, one runs at a time: TVM builds modules on one thread of a process only."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        with _TURN:
            return function(*args, **kwargs)

    return call


_TURN = threading.RLock()
