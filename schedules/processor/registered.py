"""Tensor intrinsics by name, each made once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tvm import tirx
from tvm.s_tir import TensorIntrin


def registered(name: str, make: Callable[..., tuple[tirx.PrimFunc, tirx.PrimFunc]], *arguments: Any) -> str:
    """The name of a tensor intrinsic, which `make(*arguments)` describes and implements where it is not there yet.

    It is made in a thread of its own: each `T.prim_func` looks at the source of all frames of the caller's stack, which
    takes long where it is deep, and in a thread there are few.
    """
    if TensorIntrin.get(name, allow_missing=True) is None:
        with ThreadPoolExecutor(1) as thread:
            TensorIntrin.register(name, *thread.submit(make, *arguments).result())
    return name
