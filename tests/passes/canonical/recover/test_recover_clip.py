import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from rewriting import apply, const, module
from tvm import relax

from eq_tvm.passes import RecoverClip
from eq_tvm.passes.graph.rewrite import Graph

SHAPE = (1, 3, 5, 4)


def number(value):
    return relax.const(np.float32(value))


def clip(x, low, high):
    return relax.op.clip(x, float(low), float(high))


CASES = {
    "relu": (lambda x: relax.op.maximum(x, number(0)), ["nn.relu"]),
    "relu, operands swapped": (lambda x: relax.op.maximum(number(0), x), ["nn.relu"]),
    "relu6": (lambda x: relax.op.minimum(relax.op.nn.relu(x), number(6)), ["clip"]),
    "broadcast bounds": (lambda x: relax.op.maximum(x, relax.const(np.zeros(SHAPE, "float32"))), ["nn.relu"]),
    "one bound": (lambda x: relax.op.minimum(x, number(0.5)), ["clip"]),
    "unbounded": (lambda x: relax.op.nn.relu(clip(x, -math.inf, math.inf)), ["nn.relu"]),
    "relu of relu": (lambda x: relax.op.nn.relu(relax.op.nn.relu(x)), ["nn.relu"]),
    "a bound per channel": (lambda x: relax.op.maximum(x, const(3, 1, 1)), ["maximum"]),
    "integers": (
        lambda x: relax.op.astype(
            relax.op.maximum(relax.op.astype(x, "int32"), relax.const(np.array([0], "int32"))), "float32"
        ),
        ["astype", "maximum", "astype"],
    ),
    "two tensors": (lambda x: relax.op.maximum(x, relax.op.negative(x)), ["negative", "maximum"]),
}


@pytest.mark.parametrize("make,expected", CASES.values(), ids=CASES)
def test_cases(make, expected):
    assert apply(module(make, SHAPE), RecoverClip()) == expected


def test_bounds_that_broadcast_the_data_stay():
    mod = module(lambda x: relax.op.maximum(x, relax.const(np.zeros((2, 3), "float32"))), (1, 3))
    assert apply(mod, RecoverClip()) == ["maximum"]


def test_inner_result_used_elsewhere():
    def make(x):
        inner = relax.op.nn.relu(x)
        return relax.Tuple([inner, relax.op.minimum(inner, number(0.5))])

    assert apply(module(make, SHAPE), RecoverClip()) == ["nn.relu", "clip"]


bounds = st.sampled_from([-math.inf, -1.0, -0.25, 0.0, 0.5, 1.0, math.inf])


@hypothesis.given(
    st.lists(st.tuples(st.sampled_from(["maximum", "minimum", "relu", "clip"]), bounds, bounds), max_size=4)
)
@hypothesis.settings(max_examples=15)
def test_chains(chain):
    def make(x):
        for kind, low, high in chain:
            if kind == "relu":
                x = relax.op.nn.relu(x)
            elif kind == "clip":
                x = clip(x, min(low, high), max(low, high))
            else:
                x = getattr(relax.op, kind)(x, number(low))
        return relax.op.negative(x)

    assert len(apply(module(make, (1, 3, 4)), RecoverClip())) <= 2


def test_bounds_in_the_wrong_order():
    """ONNX: the upper bound wins."""
    mod = RecoverClip()(module(lambda x: relax.op.nn.relu(clip(x, 2, 1)), SHAPE))
    (call,) = Graph(mod).values.values()
    assert [float(bound.value) for bound in call.args[1:]] == [1, 1]
