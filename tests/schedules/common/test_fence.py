"""A loop whose iterations LLVM keeps apart."""

import re

import numpy as np
import pytest
import tvm
from families import FAMILIES
from tvm import s_tir, te

from eq_tvm.schedules.common.fence import keep_apart
from eq_tvm.schedules.common.loops import loops
from eq_tvm.schedules.common.lowered import lowered

STEPS = 4


@pytest.mark.parametrize("apart", [False, True])
def test_llvm_writes_out_other_loops(apart):
    """Of few iterations; what is computed stays the same."""
    x = te.placeholder((STEPS, 16), "int32", "x")
    step = te.reduce_axis((0, STEPS), "step")
    sch = s_tir.Schedule(te.create_prim_func([x, te.compute((16,), lambda i: te.sum(x[step, i], axis=step), "sums")]))
    sums = loops(sch, "sums")
    sch.reorder(sums.step, sums.i)
    sch.vectorize(sums.i)
    if apart:
        keep_apart(sch, sums.step)
    function = lowered(sch.decompose_reduction("sums", sums.step) and sch.mod["main"])
    assembly = tvm.tirx.build(function, FAMILIES["smmla"].target()).inspect_source("asm")
    additions = re.findall(r"add\s+v\d+\.4s", assembly)
    assert (len(additions) > 4) == (not apart)
    values, result = np.arange(STEPS * 16, dtype="int32").reshape(STEPS, 16), tvm.runtime.tensor(np.zeros(16, "int32"))
    tvm.tirx.build(function, tvm.target.Target("llvm"))["main"](tvm.runtime.tensor(values), result)
    np.testing.assert_array_equal(result.numpy(), values.sum(0))
