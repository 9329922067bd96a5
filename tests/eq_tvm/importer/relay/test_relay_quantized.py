"""The dialect qnn: pairs that compute the integers that Relay's operators define."""

import numpy as np
import pytest
from relay_runs import kinds, read_text, run, typed

from eq_tvm.building.canonical import import_canonical
from eq_tvm.errors import UserError
from eq_tvm.importer.own_scales import has_scales, weight_scales

R = np.random.default_rng(3)
X = R.integers(0, 256, (1, 4, 6, 6), dtype=np.uint8)
W = R.integers(-127, 128, (5, 4, 3, 3), dtype=np.int8)
BIAS = R.integers(-9000, 9000, 5, dtype=np.int32)
SCALES = R.uniform(0.002, 0.01, 5).astype(np.float32)


def literal(array):
    """A constant as text: a tuple of numbers, stacked."""
    array = np.asarray(array)
    if array.ndim == 0:
        suffix = {"f": "f", "i": f"i{array.dtype.itemsize * 8}", "u": f"u{array.dtype.itemsize * 8}"}[array.dtype.kind]
        return f"{array.item()!r}{suffix}"
    return f"stack(({', '.join(map(literal, array))},), axis=0)"


def network(tmp_path, body, *params, x=X):
    names = ", ".join(f"%p{i}: {typed(array)}" for i, array in enumerate(params))
    return read_text(tmp_path, f"def @main(%x: {typed(x)}{', ' if params else ''}{names}) {{\n{body}\n}}")


def sums(x, w, zero):
    view = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64) - zero, (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", view, w.astype(np.int64))


def steps(x):
    """Of 0.07, around 11."""
    return requantized(x.astype(np.float64), np.float32(0.07), 11, np.int8)


def requantized(real, scale, zero, dtype=np.uint8):
    limits = np.iinfo(dtype)
    return np.clip(np.rint(real / scale) + zero, limits.min, limits.max).astype(dtype)


LAYER = f"""
  %0 = qnn.conv2d(%x, {literal(W)}, 120, 0, 0.05f, {literal(SCALES)}, kernel_size=[3, 3], out_dtype="int32");
  %1 = BIAS;
  %2 = qnn.requantize(%1, {literal(SCALES * np.float32(0.05))}, 0, 0.5f, 10, axis=1, out_dtype="uint8");
"""


@pytest.mark.parametrize(
    "bias",
    [
        f"nn.bias_add(%0, {literal(BIAS)})",
        f"add(%0, expand_dims({literal(BIAS)}, axis=1, num_newaxis=2))",
        f"add({literal(BIAS)}, %0)".replace(literal(BIAS), f"reshape({literal(BIAS)}, newshape=[1, 5, 1, 1])"),
        f"subtract(%0, reshape({literal(-BIAS)}, newshape=[5, 1, 1]))",
    ],
)
@pytest.mark.parametrize("relu", [False, True])
def test_convolution_with_a_bias(tmp_path, bias, relu):
    body = LAYER.replace("BIAS", bias).replace("requantize(%1", "requantize(nn.relu(%1)" if relu else "requantize(%1")
    model = network(tmp_path, body + "%2")
    expected = sums(X, W, 120) + BIAS[:, None, None]
    expected = np.maximum(expected, 0) if relu else expected
    real = expected * (SCALES * np.float32(0.05)).astype(np.float64)[:, None, None]
    difference = run(model, X)[0].astype(int) - requantized(real, 0.5, 10)
    assert np.abs(difference).max() <= 1 and np.mean(difference != 0) < 0.02  # ties
    pairs = ["DequantizeLinear"] * 3
    assert kinds(model) == [*pairs, "Conv", *(["Relu"] if relu else []), "QuantizeLinear"]


def test_whole_network_keeps_its_scales(tmp_path):
    """As the importer of quantized networks takes it: every layer with the scales that it came with."""
    body = LAYER.replace("BIAS", f"nn.bias_add(%0, {literal(BIAS)})")
    body += """
      %3 = clip(%2, a_min=10f, a_max=200f);
      %4 = nn.max_pool2d(%3, pool_size=[2, 2], strides=[2, 2]);
      %5 = qnn.add(%4, %4, 0.5f, 10, 0.5f, 10, 1f, 3);
      qnn.dequantize(%5, 1f, 3)"""
    model = network(tmp_path, body)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    assert has_scales(path)
    (scales,) = weight_scales(model).values()
    np.testing.assert_allclose(scales, SCALES, rtol=1e-6)
    module, taken, _ = import_canonical(path)
    assert [info.dtype for info in taken] == ["uint8"] and "dequantize" in str(module)
    (got,) = run(model, X)
    assert got.dtype == np.float32 and got.shape == (1, 5, 2, 2)


def test_dense(tmp_path):
    x = R.integers(-128, 128, (3, 8), dtype=np.int8)
    w = R.integers(-127, 128, (4, 8), dtype=np.int8)
    body = f"""
      %0 = qnn.dense(%x, {literal(w)}, -5, 3, 0.1f, 0.02f, units=4, out_dtype="int32");
      %1 = nn.bias_add(%0, {literal(BIAS[:4])}, axis=-1);
      qnn.requantize(%1, 0.002f, 0, 0.3f, -2, out_dtype="int8")"""
    (got,) = run(network(tmp_path, body, x=x), x)
    exact = (x.astype(int) + 5) @ (w.astype(int) - 3).T + BIAS[:4]
    np.testing.assert_allclose(got.astype(int), requantized(exact * 0.002, 0.3, -2, np.int8).astype(int), atol=1)


def test_product_of_activations_with_an_addend(tmp_path):
    x = R.integers(-128, 128, (2, 3, 8), dtype=np.int8)
    addend = np.array([400, -300, 5], np.int32)
    body = f"""%0 = qnn.batch_matmul(%x, %x, 3, 3, 0.1f, 0.1f, transpose_b=True);
      qnn.requantize(add(%0, {literal(addend)}), 0.01f, 0, 2f, -2, out_dtype="int8")"""
    (got,) = run(network(tmp_path, body, x=x), x)
    wide = x.astype(int) - 3
    exact = wide @ wide.transpose(0, 2, 1) + addend
    np.testing.assert_allclose(got.astype(int), requantized(exact * 0.01, 2, -2, np.int8).astype(int), atol=1)


def test_integers_without_scales(tmp_path):
    """Weights that are inputs, and constant ones, whose sums are known to fit float32."""
    body = 'nn.conv2d(%x, %p0, kernel_size=[3, 3], out_dtype="int32")'
    for text, arrays in ((body, [W]), (body.replace("%p0", literal(W)), [])):
        (got,) = run(network(tmp_path, text, *arrays), X, *arrays)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, sums(X, W, 0))
    x, w = X.reshape(4, 36), W.reshape(5, 36) // 2  # ONNX Runtime's sums of pairs saturate on AVX2
    (got,) = run(network(tmp_path, 'nn.dense(%x, %p0, units=5, out_dtype="int32")', w, x=x), x, w)
    np.testing.assert_array_equal(got, x.astype(np.int32) @ w.T.astype(np.int32))


def test_sums_as_integers(tmp_path):
    """Where nothing requantizes them, they are exact."""
    body = f'qnn.conv2d(%x, {literal(W)}, 120, 0, 0.05f, 0.1f, channels=5, kernel_size=[3, 3], out_dtype="int32")'
    for behind, change in (("%0", lambda y: y), ("right_shift(%0, 4)", lambda y: y >> 4)):
        (got,) = run(network(tmp_path, f"%0 = {body};\n{behind}"), X)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, change(sums(X, W, 120)))


@pytest.mark.parametrize(
    "body,expected",
    [
        ("qnn.mul(%x, %x, 0.1f, 100, 0.1f, 100, 2f, 7)", requantized((X - 100.0) ** 2 * 0.01, 2, 7)),
        ("qnn.subtract(%x, %x, 0.1f, 100, 0.2f, 0, 1f, 200)", requantized((X - 100.0) * 0.1 - X * 0.2, 1, 200)),
        ('qnn.requantize(%x, 0.1f, 100, 0.2f, 3, out_dtype="int8")', requantized((X - 100.0) * 0.1, 0.2, 3, np.int8)),
        (
            "qnn.leaky_relu(%x, 0.1f, 100, 0.1f, 100, alpha=0.5f)",
            requantized(np.where(X < 100, 0.05, 0.1) * (X - 100.0), 0.1, 100),
        ),
        (
            "qnn.concatenate((%x, %x), (0.1f, 0.2f), (0, 9), 0.2f, 0, axis=1)",
            requantized(np.concatenate([X * 0.1, (X - 9.0) * 0.2], 1), 0.2, 0),
        ),
    ],
)
def test_operators_of_two_scales(tmp_path, body, expected):
    (got,) = run(network(tmp_path, body), X)
    assert got.dtype == expected.dtype
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1
    assert np.mean(got != expected) < 0.2  # many ties: scales are round


@pytest.mark.parametrize(
    "body,expected",
    [
        ("nn.relu(%q)", lambda q: np.maximum(q, 0)),
        ("clip(%q, a_min=5f, a_max=99f)", lambda q: np.clip(q, 5, 99)),
        (
            "nn.max_pool2d(%q, pool_size=[2, 2])",
            lambda q: np.lib.stride_tricks.sliding_window_view(q, (2, 2), (2, 3)).max((4, 5)),
        ),
        ("reshape(%q, newshape=[4, -1])", lambda q: q.reshape(4, -1)),
        (
            "nn.pad(%q, 7i8, pad_width=[[0, 0], [0, 0], [1, 1], [1, 1]])",
            lambda q: np.pad(q, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=7),
        ),
        ("concatenate((%q, %q), axis=1)", lambda q: np.concatenate([q, q], 1)),
        ("%0 = split(%q, indices_or_sections=2, axis=1); %0.1", lambda q: q[:, 2:]),
    ],
)
def test_common_operators_move_integers(tmp_path, body, expected):
    """Exactly, though they are written on real numbers: between quantize and dequantize of one scale."""
    x = R.normal(0, 3, (1, 4, 6, 6)).astype(np.float32)
    model = network(tmp_path, f'%q = qnn.quantize(%x, 0.07f, 11, out_dtype="int8");\n{body}', x=x)
    np.testing.assert_array_equal(run(model, x)[0], expected(steps(x)))
    assert kinds(model)[:2] == ["QuantizeLinear", "DequantizeLinear"] and kinds(model)[-1] == "QuantizeLinear"


def test_average_in_32_bits(tmp_path):
    """As TFLite's frontend writes it; Relay cuts off what ONNX rounds."""
    x = R.normal(0, 3, (1, 4, 6, 6)).astype(np.float32)
    body = """%q = qnn.quantize(%x, 0.07f, 11, out_dtype="int8");
      %0 = nn.avg_pool2d(cast(%q, dtype="int32"), pool_size=[3, 3], strides=[3, 3]);
      cast(%0, dtype="int8")"""
    model = network(tmp_path, body, x=x)
    q = steps(x).reshape(1, 4, 2, 3, 2, 3)
    np.testing.assert_allclose(run(model, x)[0], q.mean((3, 5)), atol=0.51)
    assert kinds(model) == ["QuantizeLinear", "DequantizeLinear", "AveragePool", "QuantizeLinear"]


@pytest.mark.parametrize(
    "body,message",
    [
        ('qnn.quantize(nn.relu(%y), 0.1f, 0, out_dtype="int16")', "quantizes to int16; ONNX has int8 and uint8"),
        ("qnn.conv2d(%x, %x, 0, 0, %y, 1f)", "argument 4 is not constant; bind the parameters"),
        ("qnn.conv2d(%x, ONES, 0, 0, stack((1f, 2f), axis=0), 1f)", "several scales of its data"),
        ('qnn.quantize(%y, 0.1f, 128, out_dtype="int8")', "zero point 128 is none of int8"),
        ("nn.bias_add(qnn.conv2d(%x, ONES, 0, 0, 1f, 1f), stack((%y,), axis=0))", "bias is not constant; save"),
        ("exp(qnn.conv2d(%x, ONES, 0, 0, 1f, 1f))", "Exp does not take int32"),
        ('nn.conv2d(cast(%x, dtype="int16"), %x)', "convolves int16 of no known scale; save the module before"),
        ('nn.dense(cast(%x, dtype="int16"), %x)', "multiplies int16 of no known scale"),
        ("qnn.concatenate((%x, %x), (%y, 1f), (0, 0), 1f, 0)", "scales are not constant"),
    ],
)  # fmt: skip
def test_what_pairs_can_not_say_is_refused(tmp_path, body, message):
    with pytest.raises(UserError, match=message) as caught:
        ones = 'ones(shape=[1, 4, 1, 1], dtype="int8")'
        network(tmp_path, body.replace("%y", "%p0").replace("ONES", ones), np.float32(1))
    assert "\n" not in str(caught.value)
