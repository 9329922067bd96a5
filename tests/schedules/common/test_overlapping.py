import numpy as np
import pytest
import tvm
from tvm import s_tir, te

from eq_tvm.schedules.common.overlapping import covering_width, overlapped

WIDTHS = [(64, 16, 16), (24, 16, 8), (58, 16, 16), (129, 16, 16), (20, 32, 16), (10, 16, 10), (21, 16, 16), (9, 8, 8)]


@pytest.mark.parametrize(("extent", "lanes", "width"), WIDTHS)
def test_widths(extent, lanes, width):
    assert covering_width(extent, lanes) == width


@pytest.mark.parametrize("extent", [58, 129, 21])
def test_each_element_is_there_without_a_condition(extent):
    x = te.placeholder((3, extent), "float32", "x")
    sch = s_tir.Schedule(te.create_prim_func([x, te.compute(x.shape, lambda i, c: x[i, c] + 1.0, "out")]))
    _, c = sch.get_loops("out")
    sch.vectorize(sch.split(c, [None, covering_width(extent, 16)])[1])
    func = overlapped(sch.mod["main"])
    assert "T.where" in sch.mod["main"].script() and "T.where" not in func.script()
    value = np.arange(3 * extent, dtype="float32").reshape(3, extent)
    got = tvm.runtime.empty(value.shape)
    tvm.tirx.build(func, target="llvm")(tvm.runtime.tensor(value), got)
    np.testing.assert_array_equal(got.numpy(), value + 1)
