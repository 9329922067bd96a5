"""Functions of elements, on tensors with channels last and, behind a convolution, first."""

import math

import numpy as np
import pytest
from tflite_files import RELU, SAME, TANH, T, const, one, run, write

POOL = {"Padding": SAME, "StrideH": 1, "StrideW": 1, "FilterHeight": 1, "FilterWidth": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.tflite"


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 3


erf = np.vectorize(math.erf)
UNARY = {
    "ABS": np.abs,
    "CEIL": np.ceil,
    "COS": np.cos,
    "ELU": lambda x: np.where(x > 0, x, np.expm1(x)),
    "EXP": np.exp,
    "FLOOR": np.floor,
    "GELU": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "HARD_SWISH": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
    "NEG": np.negative,
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "RELU_0_TO_1": lambda x: np.clip(x, 0, 1),
    "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
    "ROUND": np.rint,
    "SIGN": np.sign,
    "SIN": np.sin,
    "SQUARE": np.square,
    "TANH": np.tanh,
    "ZEROS_LIKE": np.zeros_like,
}
POSITIVE = {"LOG": np.log, "SQRT": np.sqrt, "RSQRT": lambda x: 1 / np.sqrt(x)}


@pytest.mark.parametrize("kind", [*UNARY, *POSITIVE])
def test_functions(path, kind):
    x = random(2, 3, 4, 5) if kind in UNARY else np.abs(random(2, 3, 4, 5)) + 0.1
    np.testing.assert_allclose(one(path, kind, [x], T(x.shape)), (UNARY | POSITIVE)[kind](x), rtol=1e-4, atol=1e-5)


def test_functions_with_options(path):
    x = random(2, 3)
    np.testing.assert_allclose(one(path, "LEAKY_RELU", [x], T(x.shape), {"Alpha": 0.25}), np.where(x > 0, x, x / 4))
    tanh = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(one(path, "GELU", [x], T(x.shape), {"Approximate": True}), tanh, rtol=1e-4, atol=1e-5)


BINARY = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "SQUARED_DIFFERENCE": lambda x, y: (x - y) ** 2,
    "FLOOR_DIV": lambda x, y: np.floor(x / y),
    "FLOOR_MOD": np.mod,
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
}
TRUTHS = {"EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"}


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 5), (4, 5), (5,), (), (2, 1, 4, 1)], ids=str)
@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
@pytest.mark.parametrize("variable", [False, True], ids=["constant", "input"])
@pytest.mark.parametrize("kind", ["SUB", "DIV", "GREATER"])
def test_broadcasting(path, kind, shape, first, variable):
    """Also behind an operator that gives its result with channels first."""
    x, y = random(2, 3, 4, 5), random(*shape, seed=1)
    y = np.asarray(y, np.float32)
    expected = BINARY[kind](x, y)
    tensors = {
        "x": T(x.shape),
        "p": T(x.shape),
        "y": T(y.shape) if variable else const(y),
        "z": T(x.shape, str(expected.dtype)),
    }
    operators = [("MAX_POOL_2D", "x", "p", POOL)] if first else []
    operators.append((kind, "p y" if first else "x y", "z", {}))
    write(path, operators, tensors, "x y" if variable else "x", "z")
    np.testing.assert_allclose(run(path, x, y)[0] if variable else run(path, x)[0], expected, rtol=1e-5)
    swapped = [*operators[:-1], (kind, "y p" if first else "y x", "z", {})]
    write(path, swapped, tensors, "x y" if variable else "x", "z")
    found = run(path, x, y)[0] if variable else run(path, x)[0]
    np.testing.assert_allclose(found, BINARY[kind](y, x), rtol=1e-5)


@pytest.mark.parametrize("kind", BINARY)
def test_of_two(path, kind):
    x, y = random(3, 4), np.rint(random(3, 4, seed=1)) + np.float32(0.5)
    x[0] = y[0]
    found = one(path, kind, [x, y], T(x.shape, "bool" if kind in TRUTHS else "float32"))
    np.testing.assert_allclose(found, BINARY[kind](x, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL", "FLOOR_DIV", "FLOOR_MOD", "MAXIMUM"])
def test_of_two_integers(path, kind):
    x, y = np.int32([-7, 7, -8, 8, 0, 9]), np.int32([2, -2, 4, -4, 3, 5])
    expected = x // y if kind == "FLOOR_DIV" else BINARY[kind](x, y)
    np.testing.assert_array_equal(one(path, kind, [x, y], T(x.shape, "int32")), expected)


def test_fused_activations(path):
    x, y = random(3, 4), random(3, 4, seed=1)
    found = one(path, "ADD", [x, y], T(x.shape), {"FusedActivationFunction": RELU})
    np.testing.assert_allclose(found, np.maximum(x + y, 0))
    found = one(path, "MUL", [x, y], T(x.shape), {"FusedActivationFunction": TANH})
    np.testing.assert_allclose(found, np.tanh(x * y), rtol=1e-5)


def test_others_of_several(path):
    x, y, z = np.abs(random(2, 3)), random(2, 3, seed=1), random(2, 3, seed=2)
    np.testing.assert_allclose(one(path, "POW", [x, y], T(x.shape)), x**y, rtol=1e-4)
    np.testing.assert_allclose(one(path, "ADD_N", [x, y, z], T(x.shape)), x + y + z, rtol=1e-5)
    np.testing.assert_array_equal(one(path, "SELECT_V2", [x > y, x, y], T(x.shape)), np.where(x > y, x, y))
    rows = np.array([True, False])
    np.testing.assert_array_equal(one(path, "SELECT", [rows, x, y], T(x.shape)), np.where(rows[:, None], x, y))
    both = one(path, "LOGICAL_AND", [x > 1, y > 0], T(x.shape, "bool"))
    np.testing.assert_array_equal(both, (x > 1) & (y > 0))
    np.testing.assert_array_equal(one(path, "LOGICAL_NOT", [rows], T((2,), "bool")), ~rows)


def test_slopes_of_channels(path):
    x, slopes = random(1, 3, 4, 5), random(1, 1, 5, seed=1)
    tensors = {"x": T(x.shape), "p": T(x.shape), "s": const(slopes), "y": T(x.shape)}
    operators = [("MAX_POOL_2D", "x", "p", POOL), ("PRELU", "p s", "y", {})]
    (found,) = run(write(path, operators, tensors, "x", "y"), x)
    np.testing.assert_allclose(found, np.where(x < 0, x * slopes, x), rtol=1e-6)


def test_casts(path):
    x = np.float32([-2.7, -0.5, 0, 0.5, 2.7])
    np.testing.assert_array_equal(one(path, "CAST", [x], T((5,), "int32")), [-2, 0, 0, 0, 2])
    np.testing.assert_array_equal(one(path, "CAST", [x], T((5,), "bool")), [True, True, False, True, True])
    stored = one(path, "CAST", [T((3,), "uint8", scale=0.5, zero=9)], T((3,)), inputs=[np.uint8([0, 9, 255])])
    np.testing.assert_array_equal(stored, [0, 9, 255])  # of what is quantized, the integers


def test_quantized_sums(path):
    """By the definition; scales are powers of two, so that nothing is near a tie but ties."""
    x, y = np.int8([-128, 0, 5, 127]), np.int8([3, -3, 4, 127])
    tensors = {
        "x": T((4,), "int8", scale=0.5, zero=-1),
        "y": T((4,), "int8", scale=0.25, zero=2),
        "z": T((4,), "int8", scale=1.0, zero=4),  # even: ONNX Runtime adds it before it rounds
    }
    write(path, [("ADD", "x y", "z", {})], tensors, "x y", "z")
    expected = np.rint((x.astype(int) + 1) * 0.5 + (y.astype(int) - 2) * 0.25) + 4
    np.testing.assert_array_equal(run(path, x, y)[0], np.clip(expected, -128, 127))


def test_new_scales(path):
    """QUANTIZE of integers, of floats, and DEQUANTIZE."""
    x = np.arange(0, 256, 5, dtype=np.uint8)
    tensors = {
        "x": T(x.shape, "uint8", scale=0.5, zero=128),
        "q": T(x.shape, "int8", scale=0.5, zero=0),
        "h": T(x.shape, "int8", scale=0.25, zero=1),
        "r": T(x.shape),
    }
    operators = [("QUANTIZE", "x", "q", {}), ("QUANTIZE", "q", "h", {}), ("DEQUANTIZE", "h", "r", {})]
    q, h, r = run(write(path, operators, tensors, "x", "q h r"), x)
    np.testing.assert_array_equal(q, x.astype(int) - 128)
    np.testing.assert_array_equal(h, np.clip(2 * (x.astype(int) - 128) + 1, -128, 127))
    np.testing.assert_array_equal(r, (h.astype(np.float32) - 1) / 4)
