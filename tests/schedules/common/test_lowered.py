"""What is done to functions after they are scheduled: results that are cut off."""

import numpy as np
import pytest
from tvm import s_tir, te

from eq_tvm.schedules.common.lowered import cropped, lowered

WHOLE = (3, 6, 8, 32)


@pytest.mark.parametrize("shape", [(3, 6, 8, 32), (3, 5, 8, 32), (3, 6, 5, 32), (3, 5, 7, 16), (2, 1, 1, 16)])
@pytest.mark.parametrize("vector", [True, False])
def test_cropped(cpu, folder, shape, vector):
    """Elements inside are stored, and nothing else: the array ends in front of a page that can't be written."""
    func = cropped(lowered(_scaled(vector)), shape)
    assert [int(extent) for extent in func.params[-1].shape] == list(shape)
    x = np.random.default_rng(0).integers(-99, 100, WHOLE, "int32")
    (got,) = cpu.run(folder, [(func, [x])])
    np.testing.assert_array_equal(got, 3 * x[tuple(map(slice, shape))], strict=True)


def test_cropped_to_the_same():
    func = lowered(_scaled(True))
    assert cropped(func, WHOLE) is func


def test_only_the_result_is_cropped(cpu, folder):
    """Stores into other buffers stay whole."""
    x = te.placeholder((8, 16), "int32", "x")
    doubled = te.compute((8, 16), lambda i, j: x[i, j] * 2, "doubled")
    out = te.compute((8, 16), lambda i, j: doubled[7 - i, j] + 1, "out")
    func = cropped(lowered(te.create_prim_func([x, out])), (3, 16))
    values = np.arange(128, dtype="int32").reshape(8, 16)
    (got,) = cpu.run(folder, [(func, [values])])
    np.testing.assert_array_equal(got, (2 * values[::-1] + 1)[:3], strict=True)


def _scaled(vector):
    """3 x, with parts of the loops split, unrolled, fused and perhaps vectorized."""
    x = te.placeholder(WHOLE, "int32", "x")
    sch = s_tir.Schedule(te.create_prim_func([x, te.compute(WHOLE, lambda *at: x[at] * 3, "out")]))
    n, h, w, c = sch.get_loops(sch.get_sblock("out"))
    h_o, h_i = sch.split(h, [None, 2])
    c_o, c_i = sch.split(c, [None, 16])
    sch.reorder(n, h_o, c_o, h_i, w, c_i)
    sch.unroll(h_i)
    if vector:
        sch.vectorize(c_i)
    sch.parallel(sch.fuse(n, h_o))
    return sch.mod["main"]
