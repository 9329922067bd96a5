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


FORMS = {
    "divided": _divided,
    "squared by power": lambda x: _divided(x, "power"),
    "by the inverse": _by_inverse,
    "by rsqrt": lambda x: op.multiply(*(lambda c, s: (c, op.rsqrt(s)))(*_parts(x, "multiply"))),
    "scaled": lambda x: op.add(op.multiply(_divided(x), const(8)), const(1, 1, 8, seed=1)),
    "scaled from the left": lambda x: op.add(const(8), op.multiply(const(8, seed=2), _divided(x))),
    "scaled by a number": lambda x: op.multiply(_divided(x), relax.const(0.5)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    found = apply(module(FORMS[form], (2, 5, 8)), RecoverLayerNorm())
    assert found == ["nn.layer_norm"]


OTHERS = {
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
