"""The kernels' object file, and the scratch memory that they take."""

import subprocess

import pytest
import tvm
from tvm.script import tirx as T

from eq_tvm.standalone.kernels import Scratch, compile_kernels
from eq_tvm.targets import get_target


@T.prim_func
def allocates(x: T.Buffer((64, 999), "int32"), y: T.Buffer((64, 999), "int32")):
    whole = T.alloc_buffer((64, 999), "int32")
    for i in T.parallel(64):
        part = T.alloc_buffer((999,), "int32")
        small = T.alloc_buffer((9,), "int32")
        for j in range(999):
            part[j] = x[i, j]
        for j in range(999):
            small[j % 9] = part[998 - j]
            whole[i, j] = small[j % 9] + x[i, j]
    for i in T.parallel(64):
        part = T.alloc_buffer((777,), "int32")
        for j in range(999):
            part[j % 777] = whole[63 - i, j]
            y[i, j] = part[j % 777]


@T.prim_func
def calls_back(x: T.Buffer((4,), "int32")):
    T.evaluate(T.call_packed("some.function", x[0]))


def test_scratch_and_symbols(tmp_path):
    functions = tvm.IRModule({"allocates": allocates.with_attr("global_symbol", "allocates")})
    scratch = compile_kernels(functions, get_target("x86").tvm_target(), tmp_path / "kernels.o")
    assert scratch == {"allocates": Scratch(whole=4 * 64 * 999, task=4032)}  # 3996, to the next multiple of 64
    symbols = subprocess.run(["nm", tmp_path / "kernels.o"], check=True, capture_output=True, text=True).stdout
    needed = {line.split()[-1] for line in symbols.splitlines() if line.split()[-2] in "UVv"}
    assert "T __tvm_ffi_allocates" in symbols
    assert needed <= {
        "__TVMBackendParallelLaunch",
        "__TVMBackendAllocWorkspace",
        "__TVMBackendFreeWorkspace",
        "memcpy",
        "memset",
    }


def test_calls_of_the_runtime_are_refused(tmp_path):
    functions = tvm.IRModule({"calls_back": calls_back.with_attr("global_symbol", "calls_back")})
    with pytest.raises(ValueError, match="function calls_back needs TVM's runtime"):
        compile_kernels(functions, get_target("x86").tvm_target(), tmp_path / "kernels.o")
    assert not list(tmp_path.iterdir())
