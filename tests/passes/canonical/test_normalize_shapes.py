import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from rewriting import apply, module
from tvm import relax

from eq_tvm.passes import NormalizeShapes
from eq_tvm.passes.graph.rewrite import Graph, array

SHAPE = (1, 4, 6, 5)


def _taken(x, places):
    return relax.op.take(x, relax.const(np.array(places, "int64")), axis=2, mode="clip")


CASES = {
    "squeeze": (lambda x: relax.op.squeeze(x, [0]), ["reshape"]),
    "expand_dims": (lambda x: relax.op.expand_dims(x, [1]), ["reshape"]),
    "flatten": (relax.op.flatten, ["reshape"]),
    "reshapes in a row": (lambda x: relax.op.reshape(relax.op.squeeze(x, [0]), (2, 60)), ["reshape"]),
    "there and back": (lambda x: relax.op.negative(relax.op.squeeze(relax.op.expand_dims(x, [1]), [1])), ["negative"]),
    "mean": (lambda x: relax.op.mean(x, [-1, -2], keepdims=True), ["mean"]),
    "mean, dropped axes": (lambda x: relax.op.mean(x, [2, 3]), ["mean", "reshape"]),
    "mean over channels": (lambda x: relax.op.mean(x, [1]), ["mean"]),
    "max": (lambda x: relax.op.max(x, [2, 3], keepdims=True), ["nn.max_pool2d"]),
    "max, dropped axes": (lambda x: relax.op.max(x, [3, 2]), ["nn.max_pool2d", "reshape"]),
    "max over channels": (lambda x: relax.op.max(x, [1], keepdims=True), ["max"]),
    "slices of two axes": (
        lambda x: relax.op.strided_slice(relax.op.strided_slice(x, [2], [0], [9], [2]), [3], [1], [-1], [1]),
        ["strided_slice"],
    ),
    "slices of one axis": (
        lambda x: relax.op.strided_slice(relax.op.strided_slice(x, [2], [0], [9], [2]), [2], [1], [9], [1]),
        ["strided_slice", "strided_slice"],
    ),
    "whole slice": (lambda x: relax.op.negative(relax.op.strided_slice(x, [1, 2], [0, -9], [4, 9])), ["negative"]),
    "one place": (lambda x: _taken(x, [2]), ["strided_slice"]),
    "one place, without its axis": (lambda x: _taken(x, 2), ["strided_slice", "reshape"]),
    "places at one distance": (lambda x: _taken(x, [1, 3, 5]), ["strided_slice"]),
    "all places": (lambda x: relax.op.negative(_taken(x, range(6))), ["negative"]),
    "other places": (lambda x: _taken(x, [1, 2, 4]), ["take"]),
    "places in reverse": (lambda x: _taken(x, [3, 2]), ["take"]),
    "one place twice": (lambda x: _taken(x, [3, 3]), ["take"]),
    "places that are clipped": (lambda x: _taken(x, [5, 6]), ["take"]),
    "reverse": (lambda x: relax.op.strided_slice(x, [2], [-1], [-99], [-1]), ["strided_slice"]),
}


@pytest.mark.parametrize("make,expected", CASES.values(), ids=CASES)
def test_cases(make, expected):
    assert apply(module(make, SHAPE), NormalizeShapes()) == expected


def test_the_exponent_of_a_power_has_no_axes():
    exponent = relax.const(np.full((1, 1, 1), 2, "float32"))
    (power,) = Graph(NormalizeShapes()(module(lambda x: relax.op.power(x, exponent), SHAPE))).values.values()
    assert array(power.args[1]).shape == ()


def test_exponents_that_differ_stay():
    exponents = relax.const(np.array([1, 2, 3, 2, 1], "float32"))
    (power,) = Graph(NormalizeShapes()(module(lambda x: relax.op.power(x, exponents), SHAPE))).values.values()
    assert array(power.args[1]).shape == (5,)


def test_inner_reshape_used_elsewhere():
    def make(x):
        inner = relax.op.squeeze(x, [0])
        return relax.Tuple([inner, relax.op.reshape(inner, (24, 5))])

    assert apply(module(make, SHAPE), NormalizeShapes()) == ["reshape", "reshape"]


@pytest.mark.parametrize("sections,axis", [(2, 1), (4, -1), ([1, 3], 1), ([2], -2)])
def test_split(sections, axis):
    def make(x):
        parts = relax.op.split(x, sections, axis)
        count = sections if isinstance(sections, int) else len(sections) + 1
        return relax.Tuple([relax.op.negative(relax.TupleGetItem(parts, i)) for i in reversed(range(count))])

    made = apply(module(make, (1, 4, 6, 8)), NormalizeShapes())
    assert set(made) == {"strided_slice", "negative"}


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.filter_too_much])  # many slices are empty
@hypothesis.given(
    st.permutations(range(-2, 2)).map(lambda axes: [axis for axis in axes if axis]),
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3)), min_size=1, max_size=3),
)
def test_slices_lie_within_the_shape(axes, bounds):
    axes, (begin, end, strides) = axes[: len(bounds)], map(list, zip(*bounds, strict=True))
    sizes = [len(range(SHAPE[axis])[b:e]) for axis, b, e in zip(axes, begin, end, strict=True)]
    hypothesis.assume(min(sizes) > 0)
    mod = module(lambda x: relax.op.negative(relax.op.strided_slice(x, axes, begin, end, strides)), SHAPE)
    apply(mod, NormalizeShapes())
    for value in Graph(NormalizeShapes()(mod)).values.values():
        for axis, b, e, _ in zip(*([int(v) for v in arg] for arg in value.args[1:]), strict=True):
            assert axis >= 0 and 0 <= b < e <= SHAPE[axis]


def test_softmax_in_front_of_a_product_is_over_the_last_axis():
    """As in factorized attention: of keys, over the tokens."""

    def make(x, y):
        shares = relax.op.nn.softmax(x, 2)
        return relax.op.matmul(relax.op.permute_dims(shares, [0, 1, 3, 2]), y)

    found = apply(module(make, SHAPE, (1, 4, 6, 3)), NormalizeShapes())
    assert found == ["permute_dims", "nn.softmax", "permute_dims", "permute_dims", "matmul"]


def test_softmax_that_is_a_result_keeps_its_axis():
    assert apply(module(lambda x: relax.op.nn.softmax(x, 1), SHAPE), NormalizeShapes()) == ["nn.softmax"]


def test_transposed_shares_come_first_in_a_product():
    """As in YOLO11, whose values are channels by tokens; transposed products of others stay."""

    def make(scores, values):
        shares = relax.op.nn.softmax(scores, -1)
        return relax.op.matmul(values, relax.op.permute_dims(shares, [0, 1, 3, 2]))

    found = apply(module(make, (1, 4, 6, 6), (1, 4, 3, 6)), NormalizeShapes())
    assert found == ["nn.softmax", "permute_dims", "matmul", "permute_dims"]

    def plain(keys, values):
        return relax.op.matmul(values, relax.op.permute_dims(keys, [0, 1, 3, 2]))

    assert apply(module(plain, (1, 4, 6, 6), (1, 4, 3, 6)), NormalizeShapes()) == ["permute_dims", "matmul"]
