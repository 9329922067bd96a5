"""Short loops are run by one thread; results stay, and so do long loops."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import s_tir, te, tirx

from eq_tvm import passes
from eq_tvm.schedules.common.lowered import lowered
from eq_tvm.schedules.islands.short_loops import SHORT, without_short_loops

TAKEN = 3  # instructions of a vector of the functions here: load, add, store


def added(rows, width=32, dtype="uint8", lower=True):
    """One is added to each element; threads share the rows."""
    x = te.placeholder((rows, width), dtype, "x")
    sch = s_tir.Schedule(
        te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] + tirx.const(1, dtype), "y")])
    )
    row, column = sch.get_loops(sch.get_sblock("y"))
    sch.parallel(row)
    sch.vectorize(column)
    return lowered(sch.mod["main"]) if lower else sch.mod["main"]


def is_shared(func):
    return "T.parallel" in func.script()


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(("width", "dtype"), [(32, "uint8"), (17, "uint8"), (8, "float32"), (16, "float32")])
def test_what_is_short(width, dtype, lower):
    """By vectors of 32 bytes, in blocks or in plain loops."""
    vectors = -(-width * np.dtype(dtype).itemsize // 32)
    rows = SHORT // (TAKEN * vectors)
    for count, short in ((rows // 2, True), (2 * rows, False)):
        func = added(count, width, dtype, lower)
        assert is_shared(func) and is_shared(without_short_loops(func)) == (not short)
    x = np.arange(9 * width, dtype=dtype).reshape(9, width)
    got = tvm.runtime.empty(x.shape, dtype)
    run = tvm.compile(without_short_loops(added(9, width, dtype, lower)), target="llvm")
    run(tvm.runtime.tensor(x), got)
    np.testing.assert_array_equal(got.numpy(), x + 1)


def test_what_is_not_known_stays():
    """A call may take any time, and a loop as long as its arguments say."""
    x = te.placeholder((4, 8), "float32", "x")
    sch = s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i, j: te.erf(x[i, j]), "y")]))
    sch.parallel(sch.get_loops(sch.get_sblock("y"))[0])
    n = te.var("n")
    x = te.placeholder((4, n), "float32", "x")
    open_ended = s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] + 1.0, "y")]))
    open_ended.parallel(open_ended.get_loops(open_ended.get_sblock("y"))[0])
    for func in (sch.mod["main"], open_ended.mod["main"]):
        assert is_shared(func) and is_shared(without_short_loops(func))


def test_the_pass():
    """Each function of a module."""
    mod = passes.SerializeShortLoops()(tvm.IRModule({"main": added(4), "long": added(9999)}))
    assert [is_shared(mod[name]) for name in ("main", "long")] == [False, True]
