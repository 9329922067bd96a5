"""Differences become sums, and factors of channels convolutions, between integers."""

import pytest
from rewriting import apply, const, module
from tvm import relax
from tvm.relax import op

from eq_tvm.passes.canonical.recover.recover_layers import RecoverLayers

SHAPE = (1, 4, 6, 5)


def conv(x, *, seed=0):
    return op.nn.conv2d(x, const(4, 4, 1, 1, seed=seed))


def between(form, *shapes):
    """The operators of a network with `form` between two convolutions."""
    mod = module(lambda *inputs: conv(form(*(conv(x, seed=1) for x in inputs)), seed=2), *shapes)
    return apply(mod, RecoverLayers())[len(shapes) : -1]


def gelu(x):
    return op.nn.gelu(x)


FORMS = {
    "a factor": (lambda x: op.multiply(gelu(x), const(1, 4, 1, 1)), ["nn.gelu", "nn.conv2d"]),
    "without the batch": (lambda x: op.multiply(const(4, 1, 1), gelu(x)), ["nn.gelu", "nn.conv2d"]),
    "a divisor": (lambda x: op.divide(gelu(x), relax.const([[[1.0]], [[2]], [[3]], [[4]]])), ["nn.gelu", "nn.conv2d"]),
    "a batch norm": (
        lambda x: op.add(op.multiply(gelu(x), const(1, 4, 1, 1)), const(1, 4, 1, 1)),
        ["nn.gelu", "nn.conv2d", "add"],
    ),
    "along the width": (
        lambda x: op.multiply(gelu(x), const(5)),
        ["nn.gelu", "permute_dims", "reshape", "nn.conv2d", "reshape", "permute_dims"],
    ),
    "a number": (lambda x: op.multiply(gelu(x), relax.const(0.5)), ["nn.gelu", "multiply"]),
    "of pixels": (
        lambda x: op.multiply(gelu(x), const(6, 5)),
        ["nn.gelu", "permute_dims", "reshape", "nn.conv2d", "reshape", "permute_dims"],
    ),
    "of each element": (
        lambda x: op.multiply(gelu(x), const(1, 4, 6, 5)),
        ["nn.gelu", "permute_dims", "reshape", "nn.conv2d", "reshape", "permute_dims"],
    ),
    "divided by": (lambda x: op.divide(const(4, 1, 1), gelu(x)), ["nn.gelu", "divide"]),
    "PoolFormer's": (
        lambda x: op.subtract(op.nn.avg_pool2d(x, (3, 3), padding=(1, 1, 1, 1)), x),
        ["nn.avg_pool2d", "multiply", "add"],
    ),
    "of float": (lambda x: op.multiply(op.sin(x), const(1, 4, 1, 1)), ["sin", "multiply"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    make, expected = FORMS[form]
    assert between(make, SHAPE) == expected


def test_a_difference_of_two():
    assert between(op.subtract, SHAPE, SHAPE) == ["multiply", "add"]


def test_what_no_layer_reads_stays():
    found = apply(module(lambda x: op.multiply(gelu(conv(x)), const(1, 4, 1, 1)), SHAPE), RecoverLayers())
    assert found == ["nn.conv2d", "nn.gelu", "multiply"]


def test_what_no_layer_makes_stays():
    found = apply(module(lambda x: conv(op.multiply(x, const(1, 4, 1, 1))), SHAPE), RecoverLayers())
    assert found == ["multiply", "nn.conv2d"]
