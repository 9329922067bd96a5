"""Convolutions and dense layers of TFLite, float and quantized, beside sums over windows in numpy."""

import numpy as np
import pytest
from tflite_files import RELU, RELU6, RELU_N1_TO_1, SAME, TANH, VALID, T, const, one, run, write

ACTIVATIONS = {
    0: lambda x: x,
    RELU: lambda x: np.maximum(x, 0),
    RELU6: lambda x: np.clip(x, 0, 6),
    RELU_N1_TO_1: lambda x: np.clip(x, -1, 1),
    TANH: np.tanh,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.tflite"


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def integers(*shape, seed=0, dtype="int8"):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def options(padding, stride=(1, 1), dilation=(1, 1), activation=0, **more):
    return {
        "Padding": padding,
        "StrideH": stride[0],
        "StrideW": stride[1],
        "DilationHFactor": dilation[0],
        "DilationWFactor": dilation[1],
        "FusedActivationFunction": activation,
        **more,
    }


def extent(size, kernel, padding, stride, dilation):
    """Of the result, and the padding before: TensorFlow's definition."""
    reach = (kernel - 1) * dilation + 1
    if padding == VALID:
        return -(-(size - reach + 1) // stride), 0
    count = -(-size // stride)
    return count, max((count - 1) * stride + reach - size, 0) // 2


def convolved(x, w, bias, padding, stride=(1, 1), dilation=(1, 1), groups=1):
    """NHWC images, OHWI weights, in the dtype of the operands."""
    n, height, width, _ = x.shape
    out, kh, kw, per_group = w.shape
    (rows, top), (columns, left) = (
        extent(*each) for each in zip((height, width), (kh, kw), (padding,) * 2, stride, dilation, strict=True)
    )
    y = np.zeros((n, rows, columns, out), np.result_type(x, w))
    for o in range(out):
        channels = slice(o // (out // groups) * per_group, (o // (out // groups) + 1) * per_group)
        for r in range(rows):
            for c in range(columns):
                for i in range(kh):
                    for j in range(kw):
                        at = r * stride[0] + i * dilation[0] - top, c * stride[1] + j * dilation[1] - left
                        if 0 <= at[0] < height and 0 <= at[1] < width:
                            y[:, r, c, o] += x[:, at[0], at[1], channels] @ w[o, i, j]
    return y + bias


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_convolutions(path, padding, activation):
    x, w, b = random(2, 7, 6, 3), random(4, 3, 2, 3, seed=1), random(4, seed=2)
    expected = ACTIVATIONS[activation](convolved(x, w, b, padding, (2, 1)))
    found = one(
        path, "CONV_2D", [x, const(w), const(b)], T(expected.shape), options(padding, (2, 1), activation=activation)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_dilated_and_grouped(path):
    x, w = random(1, 9, 8, 4), random(6, 3, 3, 2, seed=1)
    expected = convolved(x, w, 0, SAME, dilation=(2, 3), groups=2)
    found = one(path, "CONV_2D", [x, const(w), None], T(expected.shape), options(SAME, dilation=(2, 3)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise(path, multiplier):
    x, w, b = random(1, 6, 7, 4), random(1, 3, 3, 4 * multiplier, seed=1), random(4 * multiplier, seed=2)
    expected = convolved(x, w.transpose(3, 1, 2, 0), b, SAME, (2, 2), groups=4)
    how = options(SAME, (2, 2), DepthMultiplier=multiplier)
    found = one(path, "DEPTHWISE_CONV_2D", [x, const(w), const(b)], T(expected.shape), how)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, SAME), (4, 3, VALID), (1, 2, SAME), (2, 2, VALID)])
def test_transposed(path, kernel, stride, padding):
    """The gradient of a convolution: of each element of the input, the kernel added to the result."""
    x, w, b = random(1, 4, 5, 2), random(3, kernel, kernel, 2, seed=1), random(3, seed=2)
    rows, columns = (
        size * stride if padding == SAME else (size - 1) * stride + max(kernel, stride) for size in x.shape[1:3]
    )
    whole = np.zeros((1, rows + 2 * kernel, columns + 2 * kernel, 3), np.float32)
    _, top = extent(rows, kernel, padding, stride, 1)
    _, left = extent(columns, kernel, padding, stride, 1)
    for r in range(4):
        for c in range(5):
            at = r * stride - top + kernel, c * stride - left + kernel
            whole[0, at[0] : at[0] + kernel, at[1] : at[1] + kernel] += np.einsum("i,ohwi->hwo", x[0, r, c], w)
    expected = whole[:, kernel : kernel + rows, kernel : kernel + columns] + b
    operands = [const(expected.shape, "int32"), const(w), x, const(b)]
    how = {"Padding": padding, "StrideH": stride, "StrideW": stride}
    found = one(path, "TRANSPOSE_CONV", operands, T(expected.shape), how)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_dense(path):
    x, w, b = random(2, 3, 4), random(5, 4, seed=1), random(5, seed=2)
    rows = one(path, "FULLY_CONNECTED", [x, const(w), const(b)], T((6, 5)), {"FusedActivationFunction": RELU})
    np.testing.assert_allclose(rows, np.maximum(x.reshape(6, 4) @ w.T + b, 0), rtol=1e-4, atol=1e-5)
    same = one(path, "FULLY_CONNECTED", [x, const(w), const(b)], T((2, 3, 5)), {"KeepNumDims": True})
    np.testing.assert_allclose(same, x @ w.T + b, rtol=1e-4, atol=1e-5)
    whole = one(path, "FULLY_CONNECTED", [x, const(random(5, 12)), None], T((2, 5)))
    np.testing.assert_allclose(whole, x.reshape(2, 12) @ random(5, 12).T, rtol=1e-4, atol=1e-5)
    computed = one(path, "FULLY_CONNECTED", [x[0], w, None], T((3, 5)))
    np.testing.assert_allclose(computed, x[0] @ w.T, rtol=1e-4, atol=1e-5)


def test_products(path):
    x, y = random(2, 3, 4), random(2, 3, 5, seed=1)
    found = one(path, "BATCH_MATMUL", [x, y], T((2, 4, 5)), {"AdjX": True})
    np.testing.assert_allclose(found, x.transpose(0, 2, 1) @ y, rtol=1e-4, atol=1e-5)
    found = one(path, "BATCH_MATMUL", [x, x], T((2, 3, 3)), {"AdjY": True})
    np.testing.assert_allclose(found, x @ x.transpose(0, 2, 1), rtol=1e-4, atol=1e-5)


# s_x * s_w and s_y are powers of two, so that what is rounded is exact
@pytest.mark.parametrize(
    ("dtype", "zero", "weight_zero"), [("int8", -3, 0), ("uint8", 128, 0), ("uint8", 7, 151)], ids=str
)
def test_quantized_convolutions(path, dtype, zero, weight_zero):
    """By the definition: exact sums of what is left of the zero points, scaled, rounded, clipped to the type."""
    x, w = integers(1, 5, 6, 3, dtype=dtype), integers(4, 3, 3, 3, seed=1, dtype=dtype)
    if dtype == "uint8" and not weight_zero:
        weight_zero = 128
    b = np.random.default_rng(2).integers(-5000, 5000, 4).astype(np.int32)
    sums = convolved(x.astype(np.int64) - zero, w.astype(np.int64) - weight_zero, b, SAME)
    info = np.iinfo(dtype)
    expected = np.clip(np.rint(sums / 2.0**9) + 5, info.min, info.max).astype(dtype)
    tensors = {
        "x": T(x.shape, dtype, scale=2**-4, zero=zero),
        "w": const(w, scale=2**-6, zero=weight_zero),
        "b": const(b, scale=2**-10),
        "y": T(expected.shape, dtype, scale=0.5, zero=5),
    }
    write(path, [("CONV_2D", "x w b", "y", options(SAME))], tensors, "x", "y")
    (found,) = run(path, x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("activation", [RELU, RELU6])
def test_quantized_activations_clip_inside_of_the_range(path, activation):
    x, w = integers(1, 4, 4, 2), integers(3, 1, 1, 2, seed=1)
    scales = np.float32([2**-5, 2**-6, 2**-7])
    sums = convolved(x.astype(np.int64) - 4, w.astype(np.int64), 0, SAME)
    low, high = 10, 10 + (6 / 0.25 if activation == RELU6 else 1000)
    expected = np.clip(np.rint(sums * (2.0**-3 * scales / 0.25)) + 10, low, min(high, 127)).astype(np.int8)
    tensors = {
        "x": T(x.shape, "int8", scale=2**-3, zero=4),
        "w": const(w, scale=scales),
        "y": T(expected.shape, "int8", scale=0.25, zero=10),
    }
    write(path, [("CONV_2D", "x w -", "y", options(SAME, activation=activation))], tensors, "x", "y")
    np.testing.assert_array_equal(run(path, x)[0], expected)


def test_quantized_depthwise_has_scales_of_its_channels(path):
    x, w = integers(1, 5, 5, 3), integers(1, 3, 3, 3, seed=1)
    scales = np.float32([2**-5, 2**-6, 2**-7])
    sums = convolved(x.astype(np.int64), w.transpose(3, 1, 2, 0).astype(np.int64), 0, VALID, groups=3)
    expected = np.clip(np.rint(sums * (scales / 0.5)), -128, 127).astype(np.int8)
    tensors = {
        "x": T(x.shape, "int8", scale=1.0),
        "w": const(w, scale=scales, axis=3),
        "y": T(expected.shape, "int8", scale=0.5),
    }
    write(path, [("DEPTHWISE_CONV_2D", "x w -", "y", options(VALID))], tensors, "x", "y")
    np.testing.assert_array_equal(run(path, x)[0], expected)


def test_weights_of_4_bits(path):
    nibbles = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    pairs = (nibbles.reshape(-1, 2) & 15).astype(np.uint8)
    x = integers(3, 4)
    tensors = {
        "x": T(x.shape, "int8", scale=1.0),
        "w": T((4, 4), "int4", pairs[:, 0] | pairs[:, 1] << 4, scale=np.float32([1, 2, 4, 8])),
        "y": T((3, 4), "int8", scale=64.0),
    }
    write(path, [("FULLY_CONNECTED", "x w -", "y", {})], tensors, "x", "y")
    expected = np.rint(x.astype(np.int64) @ (nibbles * np.int64([[1], [2], [4], [8]])).T / 64).clip(-128, 127)
    np.testing.assert_array_equal(run(path, x)[0], expected)


def test_dilation_by_blocks_is_folded(path):
    """SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND."""
    x, w = random(1, 8, 9, 2), random(3, 3, 3, 2, seed=1)
    tensors = {
        "x": T(x.shape),
        "block": const([2, 2], "int32"),
        "pads": const([[2, 2], [2, 3]], "int32"),
        "crops": const([[0, 0], [0, 1]], "int32"),
        "s": T((4, 6, 7, 2)),
        "w": const(w),
        "c": T((4, 4, 5, 3)),
        "y": T((1, 8, 9, 3)),
    }
    operators = [
        ("SPACE_TO_BATCH_ND", "x block pads", "s", {}),
        ("CONV_2D", "s w -", "c", options(VALID)),
        ("BATCH_TO_SPACE_ND", "c block crops", "y", {}),
    ]
    expected = convolved(x, w, 0, SAME, dilation=(2, 2))
    model = write(path, operators, tensors, "x", "y")
    np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-4, atol=1e-5)
    both = run(write(path, operators, tensors, "x", "y c"), x)  # what else reads the middle keeps all three
    np.testing.assert_allclose(both[0], expected, rtol=1e-4, atol=1e-5)
