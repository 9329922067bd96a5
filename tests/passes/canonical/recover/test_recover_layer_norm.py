"""Layer normalization as exporters write it becomes one operator."""

import pytest
from rewriting import apply, const, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.recover.recover_layer_norm import RecoverLayerNorm


def _parts(x, square):
    centred = op.subtract(x, op.mean(x, [-1], keepdims=True))
    again = op.subtract(x, op.mean(x, [-1], keepdims=True))
    squared = op.multiply(centred, centred) if square == "multiply" else op.power(centred, relax.const(2.0))
    return again, op.add(op.mean(squared, [-1], keepdims=True), relax.const(1e-5))


def _divided(x, square="multiply"):
    centred, spread = _parts(x, square)
    return op.divide(centred, op.sqrt(spread))


def _by_inverse(x):
    centred, spread = _parts(x, "multiply")
    return op.multiply(op.divide(relax.const(1.0), op.sqrt(spread)), centred)


def _variance(x, axis, by_squares=False):
    mean = op.mean(x, [axis], keepdims=True)
    if by_squares:
        return op.subtract(op.mean(op.multiply(x, x), [axis], keepdims=True), op.multiply(mean, mean))
    return op.mean(op.square(op.subtract(x, mean)), [axis], keepdims=True)


def _tensorflow(x, axis=-1, gamma=None, beta=None, by_squares=False):
    """As TensorFlow writes it: the mean is subtracted behind the multiplication."""
    mean = op.mean(x, [axis], keepdims=True)
    factor = op.divide(relax.const(1.0), op.sqrt(op.add(_variance(x, axis, by_squares), relax.const(1e-5))))
    factor = factor if gamma is None else op.multiply(factor, gamma)
    shifted = op.multiply(mean, factor)
    if beta is None:
        return op.subtract(op.multiply(x, factor), shifted)
    return op.add(op.multiply(x, factor), op.subtract(beta, shifted))


def _of_channels(x):
    """As ConvNeXt's authors write it for NCHW."""
    deviation = op.subtract(x, op.mean(x, [1], keepdims=True))
    normal = op.divide(deviation, op.sqrt(op.add(_variance(x, 1), relax.const(1e-6))))
    return op.add(op.multiply(const(5, 1, seed=1), normal), const(5, 1, seed=2))


def _by_operator(x):
    """As the importer writes InstanceNormalization."""
    centred = op.subtract(x, op.mean(x, [-1], keepdims=True))
    return op.divide(centred, op.sqrt(op.add(op.variance(x, [-1], keepdims=True), relax.const(1e-5))))


FORMS = {
    "divided": _divided,
    "by the operator of variance": _by_operator,
    "squared by power": lambda x: _divided(x, "power"),
    "by the inverse": _by_inverse,
    "by rsqrt": lambda x: op.multiply(*(lambda c, s: (c, op.rsqrt(s)))(*_parts(x, "multiply"))),
    "scaled": lambda x: op.add(op.multiply(_divided(x), const(8)), const(1, 1, 8, seed=1)),
    "scaled from the left": lambda x: op.add(const(8), op.multiply(const(8, seed=2), _divided(x))),
    "TensorFlow's": lambda x: _tensorflow(x, gamma=const(8), beta=const(8, seed=1)),
    "TensorFlow's without gamma": lambda x: _tensorflow(x, beta=const(8, seed=1)),
    "TensorFlow's without both": lambda x: _tensorflow(x, by_squares=True),
    "scaled by a number": lambda x: op.multiply(_divided(x), relax.const(0.5)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    found = apply(module(FORMS[form], (2, 5, 8)), RecoverLayerNorm())
    assert found == ["nn.layer_norm"]


TRANSPOSED = {
    "of channels": _of_channels,
    "of channels without both": lambda x: op.divide(
        op.subtract(x, op.mean(x, [1], keepdims=True)), op.sqrt(op.add(_variance(x, 1), relax.const(1e-6)))
    ),
    "TensorFlow's": lambda x: _tensorflow(x, 1, const(1, 5, 1), const(5, 1, seed=1)),
}


@pytest.mark.parametrize("form", TRANSPOSED)
def test_another_axis(form):
    found = apply(module(TRANSPOSED[form], (2, 5, 8)), RecoverLayerNorm())
    assert found == ["permute_dims", "nn.layer_norm", "permute_dims"]


OTHERS = {
    "TensorFlow's with another mean": lambda x, y: op.subtract(
        op.multiply(x, op.rsqrt(_parts(x, "multiply")[1])),
        op.multiply(op.mean(y, [-1], keepdims=True), op.rsqrt(_parts(x, "multiply")[1])),
    ),
    "TensorFlow's with another factor": lambda x, y: op.subtract(
        op.multiply(x, op.rsqrt(_parts(x, "multiply")[1])),
        op.multiply(op.mean(x, [-1], keepdims=True), op.rsqrt(_parts(y, "multiply")[1])),
    ),
    "TensorFlow's with beta along another axis": lambda x, y: _tensorflow(x, beta=const(5, 1)),
    "another mean": lambda x, y: op.divide(
        op.subtract(x, op.mean(y, [-1], keepdims=True)), op.sqrt(_parts(x, "multiply")[1])
    ),
    "the spread of another": lambda x, y: op.divide(_parts(x, "multiply")[0], op.sqrt(_parts(y, "multiply")[1])),
    "along another axis": lambda x, y: op.divide(
        op.subtract(x, op.mean(x, [1], keepdims=True)), op.sqrt(_parts(x, "multiply")[1])
    ),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_none_stays(form):
    assert "nn.layer_norm" not in apply(module(OTHERS[form], (2, 5, 8), (2, 5, 8)), RecoverLayerNorm())


def test_a_constant_along_another_axis_stays():
    found = apply(module(lambda x: op.multiply(_divided(x), const(5, 1)), (2, 5, 8)), RecoverLayerNorm())
    assert sorted(found) == ["multiply", "nn.layer_norm"]
