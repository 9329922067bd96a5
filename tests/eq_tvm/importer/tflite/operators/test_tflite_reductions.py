"""Reductions, softmax and recurrent layers, beside numpy."""

import numpy as np
import pytest
from test_tflite_moves import behind_pooling, random
from tflite_files import TANH, T, const, one, run, write

from eq_tvm.errors import UserError

REDUCTIONS = {"MEAN": np.mean, "SUM": np.sum, "REDUCE_MAX": np.max, "REDUCE_MIN": np.min, "REDUCE_PROD": np.prod}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.tflite"


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("axes", [(1, 2), (3,), (2,), (-1, 1), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_reductions(path, kind, axes, keeps):
    x = random(2, 3, 4, 5)
    expected = np.asarray(REDUCTIONS[kind](x, axis=axes, keepdims=keeps))
    behind_pooling(path, kind, x, [const(axes, "int32")], expected, {"KeepDims": keeps})


def test_truths(path):
    x = random(3, 4) > 0.5
    for kind, function in (("REDUCE_ANY", np.any), ("REDUCE_ALL", np.all)):
        found = one(path, kind, [x, const([1], "int32")], T((3,), "bool"))
        np.testing.assert_array_equal(found, function(x, axis=1))


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize("kind", ["ARG_MAX", "ARG_MIN"])
def test_places_of_extremes(path, kind, axis):
    x = np.rint(random(2, 3, 4, 5))  # with ties: the first one
    expected = (np.argmax if kind == "ARG_MAX" else np.argmin)(x, axis)
    behind_pooling(path, kind, x, [const(axis, "int32")], expected)
    behind_pooling(path, kind, x, [const(axis, "int32")], expected.astype(np.int32))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_softmax(path):
    x = random(2, 3, 4, 5)
    behind_pooling(path, "SOFTMAX", x, [], softmax(x * 0.5), {"Beta": 0.5})
    behind_pooling(path, "SOFTMAX", x, [], softmax(x), {"Beta": 1.0})
    behind_pooling(path, "LOG_SOFTMAX", x, [], np.log(softmax(x)))


def test_quantized_softmax(path):
    x = np.int8([[-128, 0, 64, 127]])
    result = T((1, 4), "int8", scale=1 / 256, zero=-128)
    found = one(path, "SOFTMAX", [T((1, 4), "int8", scale=0.02, zero=3)], result, {"Beta": 1.0}, inputs=[x])
    exact = softmax((x - np.float64(3)) * 0.02) * 256 - 128
    assert np.abs(found - exact).max() <= 0.51


def test_normalized(path):
    x = random(2, 3, 4, 5)
    behind_pooling(path, "L2_NORMALIZATION", x, [], x / np.sqrt((x**2).sum(-1, keepdims=True)))
    np.testing.assert_array_equal(one(path, "L2_NORMALIZATION", [np.zeros((2, 3), np.float32)], T((2, 3))), 0)
    sums = np.stack([(x[..., max(c - 1, 0) : c + 2] ** 2).sum(-1) for c in range(5)], -1)
    how = {"Radius": 1, "Alpha": 0.2, "Beta": 0.75, "Bias": 1.5}
    behind_pooling(path, "LOCAL_RESPONSE_NORMALIZATION", x, [], x / (1.5 + 0.2 * sums) ** 0.75, how)


def test_cumulative_and_largest(path):
    x = random(3, 4)
    found = one(path, "CUMSUM", [x, const(1, "int32")], T(x.shape), {"Reverse": True})
    np.testing.assert_allclose(found, np.cumsum(x[:, ::-1], 1)[:, ::-1], rtol=1e-5)
    values, places = one(path, "TOPK_V2", [x, const(2, "int32")], [T((3, 2)), T((3, 2), "int32")])
    np.testing.assert_array_equal(places, np.argsort(-x, 1)[:, :2])
    np.testing.assert_array_equal(values, np.take_along_axis(x, places.astype(int), 1))


def lstm_operands(path, hidden, size, **changed):
    """By position: input, weights and recurrent weights of the gates i, f, c, o, their biases, states."""
    tensors = {f"w{i}": const(random(hidden, size, seed=i)) for i in range(4)}
    tensors |= {f"r{i}": const(random(hidden, hidden, seed=10 + i)) for i in range(4)}
    tensors |= {f"b{i}": const(random(hidden, seed=20 + i)) for i in range(4)}
    tensors |= {"h": T((2, hidden)), "c": T((2, hidden))} | changed
    weights = " ".join([*(f"w{i}" for i in range(4)), *(f"r{i}" for i in range(4))])
    biases = " ".join(f"b{i}" for i in range(4))
    return tensors, f"x {weights} - - - {biases} - - h c"


@pytest.mark.parametrize("time_major", [False, True])
def test_lstm(path, time_major):
    steps, size, hidden = 5, 3, 4
    tensors, read = lstm_operands(path, hidden, size)
    x = random(2, steps, size, seed=30)
    given = x.swapaxes(0, 1) if time_major else x
    shape = (steps, 2, hidden) if time_major else (2, steps, hidden)
    tensors |= {"x": T(given.shape), "y": T(shape)}
    how = {"TimeMajor": time_major, "FusedActivationFunction": TANH, "CellClip": 10.0}
    (found,) = run(write(path, [("UNIDIRECTIONAL_SEQUENCE_LSTM", read, "y", how)], tensors, "x", "y"), given)
    h = c = np.zeros((2, hidden), np.float32)
    for t in range(steps):
        gates = [
            x[:, t] @ tensors[f"w{i}"].data.T + h @ tensors[f"r{i}"].data.T + tensors[f"b{i}"].data for i in range(4)
        ]
        i, f, o = (1 / (1 + np.exp(-gates[gate])) for gate in (0, 1, 3))
        c = f * c + i * np.tanh(gates[2])
        h = o * np.tanh(c)
        np.testing.assert_allclose(found[t] if time_major else found[:, t], h, rtol=1e-4, atol=1e-5)


def test_lstm_of_other_kinds(path):
    tensors, read = lstm_operands(path, 4, 3)
    tensors |= {"x": T((2, 5, 3)), "y": T((2, 5, 4)), "peep": const(random(4))}
    how = {"FusedActivationFunction": TANH, "CellClip": 10.0}
    for changed, options, message in (
        (read.replace("- - -", "peep - -"), how, "has peepholes"),
        (read.replace("w0", "-"), how, "has coupled gates"),
        (read, how | {"CellClip": 2.0}, "has bounds or another function"),
    ):
        write(path, [("UNIDIRECTIONAL_SEQUENCE_LSTM", changed, "y", options)], tensors, "x", "y")
        with pytest.raises(UserError, match=message):
            run(path, random(2, 5, 3))
