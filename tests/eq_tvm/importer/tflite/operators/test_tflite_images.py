"""Poolings, and what resizes, pads and rearranges images."""

import numpy as np
import pytest
from tflite_files import SAME, VALID, T, const, one


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.tflite"


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pooled(x, kernel, stride, padding, function):
    """NHWC; a function of what of a window is inside of the image."""
    sizes = [
        -(-n // s) if padding == SAME else -(-(n - k + 1) // s)
        for n, k, s in zip(x.shape[1:3], kernel, stride, strict=True)
    ]
    y = np.empty((x.shape[0], *sizes, x.shape[3]), x.dtype)
    for r in range(sizes[0]):
        for c in range(sizes[1]):
            ends = []
            for at, n, k, s, count in zip((r, c), x.shape[1:3], kernel, stride, sizes, strict=True):
                before = max((count - 1) * s + k - n, 0) // 2 if padding == SAME else 0
                ends.append(slice(max(at * s - before, 0), min(at * s - before + k, n)))
            y[:, r, c] = function(x[:, ends[0], ends[1]])
    return y


POOLS = {
    "AVERAGE_POOL_2D": lambda w: w.mean(axis=(1, 2)),
    "MAX_POOL_2D": lambda w: w.max(axis=(1, 2)),
    "L2_POOL_2D": lambda w: np.sqrt((w**2).mean(axis=(1, 2))),
}


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("kind", POOLS)
def test_poolings_do_not_count_padding(path, kind, padding):
    x = random(2, 7, 6, 3)
    expected = pooled(x, (3, 2), (2, 3), padding, POOLS[kind])
    how = {"Padding": padding, "FilterHeight": 3, "FilterWidth": 2, "StrideH": 2, "StrideW": 3}
    np.testing.assert_allclose(one(path, kind, [x], T(expected.shape), how), expected, rtol=1e-5)


def test_quantized_pooling_keeps_integers(path):
    x = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 2)).astype(np.uint8)
    how = {"Padding": VALID, "FilterHeight": 2, "FilterWidth": 2, "StrideH": 2, "StrideW": 2}
    operand, result = T(x.shape, "uint8", scale=0.3, zero=77), T((1, 2, 2, 2), "uint8", scale=0.3, zero=77)
    found = one(path, "MAX_POOL_2D", [operand], result, how, inputs=[x])
    np.testing.assert_array_equal(found, pooled(x, (2, 2), (2, 2), VALID, POOLS["MAX_POOL_2D"]))
    found = one(path, "AVERAGE_POOL_2D", [operand], result, how, inputs=[x])
    exact = pooled(x.astype(np.float64), (2, 2), (2, 2), VALID, POOLS["AVERAGE_POOL_2D"])
    assert np.abs(found - exact).max() <= 0.5  # ties may go either way


def source(size, result, corners, centers):
    """Where a pixel of the result is taken, for each."""
    if corners and result > 1:
        return np.arange(result) * (size - 1) / (result - 1)
    scale = size / result
    return (np.arange(result) + 0.5) * scale - 0.5 if centers else np.arange(result) * scale


PLACES = [(False, False), (True, False), (False, True)]


@pytest.mark.parametrize(("corners", "centers"), PLACES)
@pytest.mark.parametrize("sizes", [(9, 4), (3, 11), (1, 5), (10, 10)], ids=str)
def test_bilinear(path, sizes, corners, centers):
    x = random(1, 5, 7, 2)
    rows, columns = x, None
    for axis in (1, 2):
        at = np.clip(source(x.shape[axis], sizes[axis - 1], corners, centers), 0, x.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        part = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        rows = rows.take(low, axis) * (1 - part) + rows.take(high, axis) * part
    columns = rows
    how = {"AlignCorners": corners, "HalfPixelCenters": centers}
    found = one(path, "RESIZE_BILINEAR", [x, const(sizes, "int32")], T((1, *sizes, 2)), how)
    np.testing.assert_allclose(found, columns, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("corners", "centers"), PLACES)
@pytest.mark.parametrize("sizes", [(10, 4), (3, 14), (1, 5)], ids=str)
def test_nearest(path, sizes, corners, centers):
    x = random(1, 5, 7, 2)
    expected = x
    for axis in (1, 2):
        at = source(x.shape[axis], sizes[axis - 1], corners, centers)
        at = np.floor(at + 0.5 if corners or centers else at)
        expected = expected.take(np.clip(at, 0, x.shape[axis] - 1).astype(int), axis)
    how = {"AlignCorners": corners, "HalfPixelCenters": centers}
    found = one(path, "RESIZE_NEAREST_NEIGHBOR", [x, const(sizes, "int32")], T((1, *sizes, 2)), how)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("mode", "name"), [(0, "reflect"), (1, "symmetric")])
def test_mirrored(path, mode, name):
    x, pads = random(1, 4, 5, 2), [[0, 0], [2, 3], [0, 4], [0, 1]]
    expected = np.pad(x, pads, mode=name)
    found = one(path, "MIRROR_PAD", [x, const(pads, "int32")], T(expected.shape), {"Mode": mode})
    np.testing.assert_array_equal(found, expected)


def test_padded(path):
    x, pads = random(1, 4, 5, 2), [[0, 1], [2, 3], [0, 4], [0, 1]]
    expected = np.pad(x, pads)
    np.testing.assert_array_equal(one(path, "PAD", [x, const(pads, "int32")], T(expected.shape)), expected)
    expected = np.pad(x, pads, constant_values=2.5)
    found = one(path, "PADV2", [x, const(pads, "int64"), const(2.5, "float32")], T(expected.shape))
    np.testing.assert_array_equal(found, expected)


def test_padding_of_quantized_tensors_is_their_zero(path):
    x = np.int8([[1, -5]])
    found = one(
        path,
        "PAD",
        [T((1, 2), "int8", scale=0.1, zero=-5), const([[0, 0], [1, 2]], "int32")],
        T((1, 5), "int8", scale=0.1, zero=-5),
        inputs=[x],
    )
    np.testing.assert_array_equal(found, [[-5, 1, -5, -5, -5]])


def test_blocks(path):
    x = random(1, 4, 6, 3)
    expected = x.reshape(1, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 3, 12)
    np.testing.assert_array_equal(one(path, "SPACE_TO_DEPTH", [x], T(expected.shape), {"BlockSize": 2}), expected)
    np.testing.assert_array_equal(one(path, "DEPTH_TO_SPACE", [expected], T(x.shape), {"BlockSize": 2}), x)


@pytest.mark.parametrize(
    ("shape", "blocks", "pads"), [((2, 4, 5, 3), [2, 3], [[1, 1], [0, 1]]), ((1, 6, 2), [3], [[2, 1]])]
)
def test_batches(path, shape, blocks, pads):
    x = random(*shape)
    whole = np.pad(x, [[0, 0], *pads, [0, 0]])
    parts = []
    for place in np.ndindex(*blocks):
        index = (slice(None), *(slice(p, None, b) for p, b in zip(place, blocks, strict=True)))
        parts.append(whole[index])
    expected = np.concatenate(parts)
    found = one(path, "SPACE_TO_BATCH_ND", [x, const(blocks, "int32"), const(pads, "int32")], T(expected.shape))
    np.testing.assert_array_equal(found, expected)
    back = one(path, "BATCH_TO_SPACE_ND", [expected, const(blocks, "int32"), const(pads, "int32")], T(x.shape))
    np.testing.assert_array_equal(back, x)
