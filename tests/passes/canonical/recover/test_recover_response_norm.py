"""Global response normalization as exporters write it becomes averages and products, which compute the same."""

import pytest
from rewriting import apply, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.recover.recover_response_norm import RecoverResponseNorm

NCHW = {"power", "mean", "multiply", "sqrt", "reshape", "add", "divide"}


def _response(x, pixels, channels, norm=None):
    norm = op.sqrt(op.sum(op.square(x), pixels, keepdims=True)) if norm is None else norm
    return op.divide(norm, op.add(op.mean(norm, [channels], keepdims=True), relax.const(1e-6)))


def _power(x):
    return op.power(op.sum(op.power(op.abs(x), relax.const(2.0)), [2, 3], keepdims=True), relax.const(0.5))


FORMS = {
    "NCHW": (lambda x: op.multiply(x, _response(x, [2, 3], 1)), NCHW),
    "by powers": (lambda x: op.multiply(x, _response(x, [2, 3], 1, _power(x))), NCHW),
    "NHWC": (lambda x: op.multiply(_response(x, [1, 2], -1), x), NCHW | {"permute_dims"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    make, expected = FORMS[form]
    assert set(apply(module(make, (2, 5, 4, 3)), RecoverResponseNorm())) == expected


OTHERS = {
    "of another": lambda x, y: op.multiply(y, _response(x, [2, 3], 1)),
    "the mean over other axes": lambda x, _: op.multiply(x, _response(x, [2, 3], 0)),
    "norms over other axes": lambda x, _: op.multiply(x, _response(x, [1, 3], 2)),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_none_stays(form):
    assert "sum" in apply(module(OTHERS[form], (2, 5, 4, 3), (2, 5, 4, 3)), RecoverResponseNorm())
