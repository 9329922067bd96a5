import numpy as np
import pytest
import tvm
from tvm import s_tir, te

from eq_tvm.schedules.common.lowered import lowered
from eq_tvm.schedules.common.parted import parted


@pytest.mark.parametrize("rows", [1, 2])  # in a tile, of three
@pytest.mark.parametrize(("extent", "width"), [(58, 2), (17, 1), (10, 2), (40, 8)])
def test_vectors_have_no_condition_for_each_element(extent, width, rows):
    x = te.placeholder((3, extent), "float32", "x")
    sch = s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i, c: x[i, c] + 1.0, "out")]))
    i, c = sch.get_loops("out")
    sch.unroll(sch.split(i, [None, rows])[1])
    _, lane = sch.split(c, [None, 16])
    sch.vectorize(lane)
    func = parted(lowered(sch.mod["main"]), width)
    for loop in func.script().split("T.vectorized(")[1:]:
        assert "if" not in loop.split(":")[1]
    value = np.arange(3 * extent, dtype="float32").reshape(3, extent)
    got = tvm.runtime.empty(value.shape)
    tvm.tirx.build(func, target="llvm")(tvm.runtime.tensor(value), got)
    np.testing.assert_array_equal(got.numpy(), value + 1)
