"""Loops over numpy's arrays that TVM compiles for this machine: numpy passes over memory once for each operator."""

import functools
import threading
from collections.abc import Callable, Hashable

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx

ALIGN = 4  # of buffers: numpy's arrays begin at any element

_turn = threading.Lock()  # TVM compiles on one thread at a time


def compiled(make: Callable[..., tirx.PrimFunc]) -> Callable[..., Callable[..., None]]:
    """Decorate what makes a function of given sizes: then it gives one for arrays, compiled once for the same sizes.

    Its arguments are C-contiguous arrays, written to in place; buffers are to be declared with `ALIGN`.
    """

    @functools.cache
    def built(*sizes: Hashable) -> tvm.runtime.Module:
        target = {"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()}
        return tvm.tirx.build(make(*sizes).with_attr("tirx.noalias", True), target=tvm.target.Target(target))

    def of_sizes(*sizes: Hashable) -> Callable[..., None]:
        with _turn:
            function = built(*sizes)
        return lambda *arrays: function(*map(_tensor, arrays))

    return of_sizes


def _tensor(array: np.ndarray) -> tvm_ffi.Tensor:
    return tvm_ffi.from_dlpack(array, require_alignment=ALIGN)
