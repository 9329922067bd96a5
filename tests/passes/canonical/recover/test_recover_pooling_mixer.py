"""Pooling less what it pools becomes a sum, and what scales it a layer."""

import pytest
from rewriting import apply, const, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.recover.recover_pooling_mixer import RecoverPoolingMixer

SHAPE = (1, 4, 6, 5)


def mixed(x):
    return op.subtract(op.nn.avg_pool2d(x, (3, 3), padding=(1, 1, 1, 1)), x)


def test_a_difference():
    assert apply(module(mixed, SHAPE), RecoverPoolingMixer()) == ["nn.avg_pool2d", "negative", "add"]


@pytest.mark.parametrize("constant", [(1, 4, 1, 1), (4, 1, 1)])
def test_scaled(constant):
    found = apply(module(lambda x: op.multiply(mixed(x), const(*constant)), SHAPE), RecoverPoolingMixer())
    assert found == ["nn.avg_pool2d", "negative", "add", "nn.conv2d"]


OTHERS = {
    "of another tensor": lambda x, y: op.subtract(op.nn.avg_pool2d(x, (1, 1)), y),
    "the other way round": lambda x, _: op.subtract(x, op.nn.avg_pool2d(x, (1, 1))),
}


@pytest.mark.parametrize("form", OTHERS)
def test_other_differences_stay(form):
    assert "subtract" in apply(module(OTHERS[form], SHAPE, SHAPE), RecoverPoolingMixer())


def test_a_constant_along_another_axis_stays():
    found = apply(module(lambda x: op.multiply(mixed(x), const(6, 5)), SHAPE), RecoverPoolingMixer())
    assert found[-1] == "multiply"


def test_a_number_stays():
    found = apply(module(lambda x: op.multiply(mixed(x), relax.const(0.5)), SHAPE), RecoverPoolingMixer())
    assert found[-1] == "multiply"
