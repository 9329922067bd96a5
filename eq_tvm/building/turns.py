"""Compiling from several threads of one program."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")

_TURN = threading.RLock()


def one_at_a_time(function: Callable[P, Result]) -> Callable[P, Result]:
    """Let threads take turns in all such functions: what TVM builds functions with has one state for all of them."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        with _TURN:
            return function(*args, **kwargs)

    return call
