"""What moves, selects, joins and makes elements, beside numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_files import SAME, T, const, one, run, write

POOL = {"Padding": SAME, "StrideH": 1, "StrideW": 1, "FilterHeight": 1, "FilterWidth": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.tflite"


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def behind_pooling(path, kind, x, others, expected, options=None, before=()):
    """The result(s) for x, and for x behind an operator that gives its result with channels first."""
    expected = expected if isinstance(expected, list) else [expected]
    made = [f"y{i}" for i in range(len(expected))]
    for first in (False, True):
        tensors = {"x": T(x.shape), "p": T(x.shape), **{f"c{i}": each for i, each in enumerate(others)}}
        tensors |= {name: T(y.shape, str(y.dtype)) for name, y in zip(made, expected, strict=True)}
        names = [f"c{i}" for i in range(len(others))]
        names.insert(len(before), "p" if first else "x")
        operators = [("MAX_POOL_2D", "x", "p", POOL)] if first else []
        operators.append((kind, " ".join(names), " ".join(made), options or {}))
        for found, want in zip(run(write(path, operators, tensors, "x", " ".join(made)), x), expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_shapes(path):
    x = random(1, 3, 1, 4)
    np.testing.assert_array_equal(one(path, "RESHAPE", [x, const([4, 3], "int32")], T((4, 3))), x.reshape(4, 3))
    np.testing.assert_array_equal(one(path, "SQUEEZE", [x], T((3, 4))), x.reshape(3, 4))
    np.testing.assert_array_equal(one(path, "EXPAND_DIMS", [x, const(1, "int32")], T((1, 1, 3, 1, 4))), x[:, None])
    np.testing.assert_array_equal(one(path, "SHAPE", [x], T((4,), "int32")), [1, 3, 1, 4])
    np.testing.assert_array_equal(one(path, "RANK", [x], T((), "int32")), 4)
    behind_pooling(path, "RESHAPE", random(2, 3, 4, 5), [const([2, 60], "int32")], random(2, 3, 4, 5).reshape(2, 60))


def test_transposed_tensors(path):
    x = random(2, 3, 4, 5)
    behind_pooling(path, "TRANSPOSE", x, [const([0, 3, 1, 2], "int32")], x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("axis", [1, 3, -1, -2])
def test_joined_and_split(path, axis):
    x, y = random(2, 4, 4, 4), random(2, 4, 4, 4, seed=1)
    behind_pooling(path, "CONCATENATION", x, [const(y)], np.concatenate([x, y], axis), {"Axis": axis})
    axis_at = [const(axis, "int32")]
    behind_pooling(path, "SPLIT", x, axis_at, np.split(x, 2, axis), before=axis_at)
    sizes = [const([1, -1], "int32"), const(axis, "int32")]
    behind_pooling(path, "SPLIT_V", x, sizes, np.split(x, [1], axis))


def test_quantized_parts_of_other_scales_are_requantized(path):
    tensors = {
        "x": T((1, 2), "uint8", scale=0.5, zero=0),
        "y": T((1, 2), "uint8", scale=0.25, zero=4),
        "z": T((1, 4), "uint8", scale=0.5, zero=10),
    }
    write(path, [("CONCATENATION", "x y", "z", {"Axis": 1})], tensors, "x y", "z")
    (found,) = run(path, np.uint8([[0, 250]]), np.uint8([[4, 24]]))
    np.testing.assert_array_equal(found, [[10, 255, 10, 20]])


def test_packed(path):
    x, y = random(2, 3), random(2, 3, seed=1)
    np.testing.assert_array_equal(one(path, "PACK", [x, y], T((2, 2, 3)), {"Axis": 1}), np.stack([x, y], 1))
    parts = one(path, "UNPACK", [x], [T((2,))] * 3, {"Axis": 1})
    np.testing.assert_array_equal(parts, x.T)


def test_slices(path):
    x = random(2, 5, 6, 4)
    behind_pooling(path, "SLICE", x, [const([0, 1, 2, 0], "int32"), const([2, 3, -1, 2], "int32")], x[:, 1:4, 2:, :2])


ENDS = st.one_of(st.none(), st.integers(-6, 6))
ENTRIES = st.one_of(
    st.builds(slice, ENDS, ENDS, st.sampled_from([1, 2, -1, -2])), st.integers(-3, 2), st.just(None), st.just(Ellipsis)
)


@settings(max_examples=60, deadline=None)
@given(entries=st.lists(ENTRIES, min_size=1, max_size=5))
def test_strided_slices_are_numpys(tmp_path_factory, entries):
    x = random(3, 4, 5)
    if entries.count(Ellipsis) > 1 or sum(e is not None and e is not Ellipsis for e in entries) > 3:
        return
    expected = x[tuple(entries)]
    if not expected.size:
        return
    how = dict.fromkeys(("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask"), 0)
    begin, end, steps = [], [], []
    for i, entry in enumerate(entries):
        part = entry if isinstance(entry, slice) else slice(entry if isinstance(entry, int) else 0, 0, 1)
        begin.append(part.start or 0)
        end.append(part.stop or 0)
        steps.append(part.step)
        how["BeginMask"] |= (part.start is None) << i
        how["EndMask"] |= (part.stop is None) << i
        how["EllipsisMask"] |= (entry is Ellipsis) << i
        how["NewAxisMask"] |= (entry is None) << i
        how["ShrinkAxisMask"] |= isinstance(entry, int) << i
    operands = [x, *(const(each, "int32") for each in (begin, end, steps))]
    path = tmp_path_factory.mktemp("slice") / "net.tflite"
    np.testing.assert_array_equal(one(path, "STRIDED_SLICE", operands, T(expected.shape), how), expected)


def test_gathered(path):
    x = random(3, 4, 5)
    for axis, places in ((0, [2, 0]), (1, [[3, 1], [0, 0]])):
        expected = x.take(places, axis)
        found = one(path, "GATHER", [x, const(places, "int32")], T(expected.shape), {"Axis": axis})
        np.testing.assert_array_equal(found, expected)
    rows, places = random(2, 5), np.int64([[4, 0], [1, 1]])
    found = one(path, "GATHER", [rows, places], T((2, 2)), {"Axis": 1, "BatchDims": 1})
    np.testing.assert_array_equal(found, np.take_along_axis(rows, places, 1))
    found = one(path, "GATHER_ND", [x, const([[0, 1], [2, 3]], "int32")], T((2, 5)))
    np.testing.assert_array_equal(found, x[[0, 2], [1, 3]])


def test_repeated(path):
    x = random(1, 2, 3, 2)
    behind_pooling(path, "TILE", x, [const([1, 2, 1, 3], "int32")], np.tile(x, (1, 2, 1, 3)))
    expected = np.broadcast_to(x[:, :1], (2, 5, 3, 2))
    found = one(path, "BROADCAST_TO", [x[:, :1], const(expected.shape, "int32")], T(expected.shape))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(one(path, "REVERSE_V2", [x, const([1, 2], "int32")], T(x.shape)), x[:, ::-1, ::-1])


def test_made(path):
    x = random(2, 3)
    tensors = {
        "x": T(x.shape),
        "shape": const([2, 3], "int32"),
        "value": const(np.float32(2)),
        "f": T((2, 3)),
        "y": T((2, 3)),
        **{name: const(np.float32(number)) for name, number in (("from", 0), ("to", 3), ("by", 1))},
        "r": T((3,)),
        "z": T((2, 3)),
    }
    operators = [
        ("FILL", "shape value", "f", {}),
        ("ADD", "x f", "y", {}),
        ("RANGE", "from to by", "r", {}),
        ("MUL", "y r", "z", {}),
    ]
    (found,) = run(write(path, operators, tensors, "x", "z"), x)
    np.testing.assert_allclose(found, (x + 2) * np.arange(3), rtol=1e-6)
    places = np.int64([2, 0])
    operands = [places, const(3, "int32"), const(np.float32(5)), const(np.float32(-1))]
    expected = np.where(np.arange(3) == places[:, None], 5, -1)
    np.testing.assert_array_equal(one(path, "ONE_HOT", operands, T((2, 3))), expected)


def test_what_depends_on_data_is_refused(path):
    x = random(2, 3)
    from eq_tvm.errors import UserError

    with pytest.raises(UserError, match=r"SLICE \(tensor 'out0'\) takes 'in1' from the data; only static shapes"):
        one(path, "SLICE", [x, np.int32([0, 0]), const([1, 1], "int32")], T((1, 1)))
