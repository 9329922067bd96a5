"""Four vectors of int32 to 64 bytes and back: exact, with saturation."""

import numpy as np
import pytest
from families import FAMILIES
from tvm import s_tir, te

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.lowered import lowered
from eq_tvm.schedules.processor import packing


@pytest.fixture
def family():
    if FAMILIES["pmaddwd-512"].lacking:
        pytest.skip("this processor has neither AVX-512 nor AVX2")
    return FAMILIES["pmaddwd-512"]


def test_places():
    """`position` is its own inverse, and keeps to lanes of 128 bits."""
    places = np.arange(packing.BLOCK)
    np.testing.assert_array_equal(packing.position(packing.position(places)), places)
    assert len(set(packing.position(places))) == packing.BLOCK


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_pack(family, folder, dtype):
    """What leaves int16 saturates at the end of the byte's range too."""
    held = np.iinfo(dtype)
    edges = [
        0,
        1,
        -1,
        held.min,
        held.min - 1,
        held.max,
        held.max + 1,
        2**15 - 1,
        2**15,
        -(2**15),
        -(2**15) - 1,
        2**16 + 5,
        -(2**16) + 5,
        2**31 - 1,
        -(2**31),
    ]
    rng = np.random.default_rng(0)
    x = np.where(rng.random((40, 64)) < 0.5, rng.choice(edges, (40, 64)), rng.integers(-300, 301, (40, 64)))
    func = _function(
        "int32",
        dtype,
        lambda source: lambda r, c: Output(dtype).saturate(source[r, packing.position(c)]),
        packing.pack_intrinsic(dtype),
    )
    (got,) = family.run(folder, [(func, [x.astype("int32")])])
    expected = np.clip(x, held.min, held.max)[:, packing.position(np.arange(64))]
    np.testing.assert_array_equal(got, expected.astype(dtype), strict=True)


def test_unpack(family, folder):
    x = np.random.default_rng(0).permuted(np.tile(np.arange(256), (40, 1)), axis=1)[:, :64].astype("uint8")
    func = _function(
        "uint8",
        "int32",
        lambda source: lambda r, p: source[r, packing.position(p)].astype("int32"),
        packing.unpack_intrinsic(),
    )
    (got,) = family.run(folder, [(func, [x])])
    np.testing.assert_array_equal(got, x[:, packing.position(np.arange(64))].astype("int32"), strict=True)


def test_registered_once():
    assert packing.pack_intrinsic("int8") == packing.pack_intrinsic("int8") != packing.pack_intrinsic("uint8")


def _function(source, dtype, compute, intrinsic):
    """A function that applies the intrinsic to each of 40 rows."""
    x = te.placeholder((40, 64), source, "x")
    loaded = te.compute(x.shape, lambda *at: x[at], "loaded") if source == "int32" else x
    moved = te.compute(x.shape, compute(loaded), "moved")
    out = te.compute(x.shape, lambda *at: moved[at], "out")
    assert str(out.dtype) == dtype
    sch = s_tir.Schedule(te.create_prim_func([x, out]))
    row, column = sch.get_loops(sch.get_sblock("out"))
    sch.vectorize(column)
    for name in ("moved", "loaded") if source == "int32" else ("moved",):
        sch.set_scope(sch.get_sblock(name), 0, "local")
        sch.compute_at(sch.get_sblock(name), row)
    sch.tensorize(sch.get_loops(sch.get_sblock("moved"))[-1], intrinsic)
    return lowered(sch.mod["main"])
