"""The emulated aarch64 machine: what runs there gives what the same module gives here."""

from __future__ import annotations

import aarch64 as emulation
import numpy as np
import pytest
import tvm
from tvm import relax, te
from tvm.script import tirx as T

HERE = tvm.target.Target("llvm")
rng = np.random.default_rng(0)


def test_prim_func_equals_x86(aarch64, tmp_path):
    module = tvm.IRModule({"conv": _conv_int8()})
    there = emulation.export(tvm.tirx.build(module, emulation.target()), tmp_path / "conv.so")
    here = tvm.tirx.build(module, HERE)
    jobs = []
    for _ in range(3):
        x = rng.integers(-127, 128, (1, 9, 11, 4), dtype="int8")
        w = rng.integers(-127, 128, (3, 3, 4, 5), dtype="int8")
        jobs.append((there, "conv", [x, w, np.full((1, 7, 9, 5), -1, "int32")]))
    for (_, _, arguments), got in zip(jobs, aarch64.run_prim_funcs(jobs), strict=True):
        tensors = [tvm.runtime.tensor(a) for a in arguments]
        here["conv"](*tensors)
        for tensor, array in zip(tensors, got, strict=True):
            np.testing.assert_array_equal(tensor.numpy(), array, strict=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_vm_equals_x86(aarch64, tmp_path, threads):
    module = _two_results()
    there = emulation.export(tvm.compile(module, emulation.target()), tmp_path / "vm.so")
    here = relax.VirtualMachine(tvm.compile(module, HERE), tvm.cpu())
    feeds = [[rng.standard_normal((2, 3), dtype="float32"), rng.standard_normal(3, dtype="float32")] for _ in range(3)]
    with emulation.Machine(threads=threads) as machine:
        answers = machine.run_vm_batch(there, feeds)
    for feed, got in zip(feeds, answers, strict=True):
        expected = here["main"](*(tvm.runtime.tensor(a) for a in feed))
        assert len(got) == len(expected) == 2
        for e, g in zip(expected, got, strict=True):
            np.testing.assert_array_equal(e.numpy(), g, strict=True)


def test_thread_pool_runs_parallel_loops(tmp_path, aarch64):
    there = emulation.export(tvm.tirx.build(parallel_squares, emulation.target()), tmp_path / "parallel.so")
    x = rng.integers(-1000, 1000, (64, 50), dtype="int32")
    with emulation.Machine(threads=2) as machine:
        np.testing.assert_array_equal(machine.run_prim_func(there, "parallel_squares", [x, np.zeros_like(x)])[1], x * x)


def test_dotprod_needs_a_core_that_has_it(aarch64, aarch64_dotprod, tmp_path):
    there = emulation.export(tvm.tirx.build(sdot, emulation.target("cortex-a76", "+dotprod")), tmp_path / "sdot.so")
    a, b = rng.integers(-128, 128, (2, 16), dtype="int8")
    c = rng.integers(-1000, 1000, 4, dtype="int32")
    expected = c + (a.astype("int32") * b).reshape(4, 4).sum(1)
    np.testing.assert_array_equal(aarch64_dotprod.run_prim_func(there, "sdot", [a, b, c])[2], expected)
    with pytest.raises(RuntimeError, match="died"):
        aarch64.run_prim_func(there, "sdot", [a, b, c])
    # A crash ends one call, not the tests behind it.
    with pytest.raises(RuntimeError, match="no function nothing"):
        aarch64.run_prim_func(there, "nothing", [])


def test_reading_behind_an_argument_faults(aarch64, tmp_path):
    there = emulation.export(tvm.tirx.build(reads_behind, emulation.target()), tmp_path / "behind.so")
    with pytest.raises(RuntimeError, match="died"):
        aarch64.run_prim_func(there, "reads_behind", [np.zeros(16, "int32"), np.zeros(16, "int32")])


def _conv_int8():
    x = te.placeholder((1, 9, 11, 4), "int8", "x")
    w = te.placeholder((3, 3, 4, 5), "int8", "w")
    i, j, c = (te.reduce_axis((0, n)) for n in (3, 3, 4))

    def product(n, y, z, k):
        return te.sum(x[n, y + i, z + j, c].astype("int32") * w[i, j, c, k].astype("int32"), [i, j, c])

    conv = te.create_prim_func([x, w, te.compute((1, 7, 9, 5), product)])
    return conv.with_attr("global_symbol", "conv")


def _two_results() -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x, y = (relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in (("x", (2, 3)), ("y", (3,))))
    with builder.function("main", [x, y]):
        with builder.dataflow():
            total = builder.emit(relax.op.add(x, y))
            both = builder.emit_output(relax.Tuple([total, builder.emit(relax.op.nn.relu(total))]))
        builder.emit_func_output(both)
    return builder.get()


@T.prim_func
def parallel_squares(x: T.Buffer((64, 50), "int32"), y: T.Buffer((64, 50), "int32")):
    for i in T.parallel(64):
        for j in range(50):
            y[i, j] = x[i, j] * x[i, j]


@T.prim_func
def sdot(a: T.Buffer((16,), "int8"), b: T.Buffer((16,), "int8"), c: T.Buffer((4,), "int32")):
    c[T.Ramp(0, 1, 4)] = T.call_llvm_pure_intrin(
        "int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", c[T.Ramp(0, 1, 4)], a[T.Ramp(0, 1, 16)], b[T.Ramp(0, 1, 16)]
    )


@T.prim_func
def reads_behind(x: T.Buffer((16,), "int32"), y: T.Buffer((16,), "int32")):
    for i in range(16):
        y[i] = x[i + 16]
