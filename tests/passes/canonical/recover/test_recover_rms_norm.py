"""RMS and L2 normalization as exporters write them become one operator, which computes the same."""

import pytest
from rewriting import apply, const, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.recover.recover_rms_norm import RecoverRMSNorm


def _sum(x, axis=-1):
    return op.sum(op.square(x), [axis], keepdims=True)


def _mean(x):
    return op.add(op.mean(op.multiply(x, x), [-1], keepdims=True), relax.const(1e-5))


def _bounded(norm, least=1e-12):
    return op.clip(norm, least, float("inf"))


FORMS = {
    "L2": lambda x: op.divide(x, op.sqrt(_sum(x))),
    "torch's": lambda x: op.divide(x, op.broadcast_to(_bounded(op.sqrt(_sum(x))), (2, 5, 8))),
    "by powers": lambda x: op.divide(
        x,
        _bounded(op.power(op.sum(op.power(op.abs(x), relax.const(2.0)), [-1], keepdims=True), relax.const(0.5))),
    ),
    "TensorFlow's": lambda x: op.multiply(x, op.rsqrt(_bounded(_sum(x)))),
    "RMS": lambda x: op.divide(x, op.sqrt(_mean(x))),
    "by the inverse": lambda x: op.multiply(op.divide(relax.const(1.0), op.sqrt(_mean(x))), x),
    "scaled": lambda x: op.multiply(const(8), op.multiply(x, op.rsqrt(_mean(x)))),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    assert apply(module(FORMS[form], (2, 5, 8)), RecoverRMSNorm()) == ["nn.rms_norm"]


def test_another_axis():
    found = apply(module(lambda x: op.divide(x, _bounded(op.sqrt(_sum(x, 1)))), (2, 5, 8)), RecoverRMSNorm())
    assert found == ["permute_dims", "nn.rms_norm", "permute_dims"]


OTHERS = {
    "the norm of another": lambda x, y: op.divide(x, op.sqrt(_sum(y))),
    "a bound that values reach": lambda x, y: op.divide(x, _bounded(op.sqrt(_sum(x)), 0.5)),
    "a bound under the root that values reach": lambda x, y: op.divide(x, op.sqrt(_bounded(_sum(x), 1e-3))),
    "the sum of squares": lambda x, y: op.divide(x, _sum(x)),
    "another root": lambda x, y: op.divide(x, op.power(_sum(x), relax.const(0.25))),
    "the norm as a factor": lambda x, y: op.multiply(x, op.sqrt(_sum(x))),
    "all elements of one norm": lambda x, y: op.divide(x, op.sqrt(op.sum(op.square(x), [1, 2], keepdims=True))),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_none_stays(form):
    assert "nn.rms_norm" not in apply(module(OTHERS[form], (2, 5, 8), (2, 5, 8)), RecoverRMSNorm())
