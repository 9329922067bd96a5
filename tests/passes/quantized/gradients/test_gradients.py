"""What operators pass back, beside finite differences of what they compute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import build, random
from tvm import relax

from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized.float_executor import FloatExecutor
from eq_tvm.passes.quantized.gradients import products
from eq_tvm.passes.quantized.gradients.gradients import differentiable, pullback

_STEP = 2.0**-7
_IMAGES = 2


def _spread(shape, seed):
    """Numbers all further apart than two steps, none of them nearer to 0 than that: no bound, no maximum is crossed."""
    count = int(np.prod(shape))
    ranks = np.random.default_rng(seed).permutation(count)
    return ((ranks - count // 2 + 0.5) * 4 * _STEP).astype(np.float32).reshape(shape)


def _check(make, shape, node=-1, spread=True):
    """All gradients of a node of a network of one input: along random directions, beside differences."""
    module = build(make, shape)
    net, executor = read_network(module), FloatExecutor(module)
    node = net.nodes[node]
    shapes = [net.nodes[i].shape for i in node.inputs]
    inputs = [_spread((_IMAGES, *s), k) if spread else random(_IMAGES, *s, seed=k) for k, s in enumerate(shapes)]
    result, back = pullback(executor, node, *inputs)
    np.testing.assert_allclose(result, executor.evaluate(node, *inputs), rtol=1e-4, atol=1e-4)
    gradient = random(*result.shape, seed=7)
    passed = back(gradient)
    assert [x.shape for x in passed] == [x.shape for x in inputs]
    for k, (x, own) in enumerate(zip(inputs, passed, strict=True)):
        direction = np.random.default_rng(k).uniform(-1, 1, x.shape).astype(np.float32)
        moved = [
            pullback(executor, node, *inputs[:k], x + sign * np.float32(_STEP) * direction, *inputs[k + 1 :])[0]
            for sign in (1, -1)
        ]
        expected = np.sum((moved[0] - moved[1]) * gradient, dtype=np.float64) / (2 * _STEP)
        found = np.sum(own * direction, dtype=np.float64)
        size = np.sqrt(np.sum(np.square(own), dtype=np.float64))
        assert abs(found - expected) <= 1e-2 * size + 1e-3, (node.name, k, found, expected)


def _call(make):
    return lambda emit, x: [emit(make(x), "y")]


def _const(*shape, seed=0):
    return relax.const(random(*shape, seed=seed))


OPERATORS = {
    "relu": relax.op.nn.relu,
    "clip": lambda x: relax.op.clip(x, -1, 1.5),
    "max_pool": lambda x: relax.op.nn.max_pool2d(x, (3, 3), (2, 2), padding=(1, 1, 1, 1), ceil_mode=True),
    "avg_pool": lambda x: relax.op.nn.avg_pool2d(x, (3, 3), (2, 2), padding=(1, 1, 1, 1), ceil_mode=True),
    "padding counts": lambda x: relax.op.nn.avg_pool2d(x, (2, 2), (1, 1), padding=(1, 1), count_include_pad=True),
    "mean": lambda x: relax.op.mean(x, [2, 3], keepdims=True),
    "pad": lambda x: relax.op.nn.pad(x, [0, 0, 0, 0, 1, 2, 0, 1]),
    "reshape": lambda x: relax.op.reshape(x, (1, 4, 30)),
    "permute_dims": lambda x: relax.op.permute_dims(x, [0, 2, 3, 1]),
    "strided_slice": lambda x: relax.op.strided_slice(x, [1, 2], [3, 0], [0, 5], [-2, 2]),
    "nearest": lambda x: relax.op.image.resize2d(x, (7, 11), layout="NCHW", method="nearest_neighbor",
                                                 coordinate_transformation_mode="asymmetric", rounding_method="floor"),
    "bilinear": lambda x: relax.op.image.resize2d(x, (7, 4), layout="NCHW", method="linear"),
    "concat": lambda x: relax.op.concat([x, x], axis=1),
    "add": lambda x: relax.op.add(x, x),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_passes_back_what_differences_say(name):
    _check(_call(OPERATORS[name]), (1, 4, 5, 6))


FUNCTIONS = {
    "sigmoid": relax.op.sigmoid,
    "tanh": relax.op.tanh,
    "silu": relax.op.nn.silu,
    "gelu": relax.op.nn.gelu,
    "gelu_tanh": relax.op.nn.gelu_tanh,
    "exp": relax.op.exp,
    "erf": relax.op.erf,
    "negative": relax.op.negative,
    "abs": relax.op.abs,
    "leaky": lambda x: relax.op.nn.leakyrelu(x, 0.1),
    "divide": lambda x: relax.op.divide(relax.const(np.float32(3)), x),
    "subtract": lambda x: relax.op.subtract(relax.const(np.float32(1)), x),
    "sqrt": relax.op.sqrt,
    "minimum": lambda x: relax.op.minimum(x, relax.const(np.float32(0.5))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_passes_back_through_functions_of_single_elements(name):
    def make(emit, x):
        y = emit(relax.op.nn.conv2d(x, _const(2, 2, 1, 1)), "layer")
        return [emit(FUNCTIONS[name](y), "y")]

    module = build(make, (1, 2, 2, 3))
    net, executor = read_network(module), FloatExecutor(module)
    node = net.nodes[-1]
    x = _spread((_IMAGES, *node.shape), 1)
    x = np.abs(x) + 1 if name in ("sqrt", "divide") else x
    result, back = pullback(executor, node, x)
    gradient = random(*x.shape, seed=2)
    step = np.float32(2.0**-10)
    difference = (executor.evaluate(node, x + step) - executor.evaluate(node, x - step)) / (2 * step)
    np.testing.assert_allclose(back(gradient)[0], gradient * difference, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(result, executor.evaluate(node, x))


def test_passes_back_to_both_operands():
    def product(emit, x):
        y = emit(relax.op.nn.conv2d(x, _const(4, 4, 1, 1)), "layer")
        return [emit(relax.op.multiply(y, emit(relax.op.mean(y, [2, 3], keepdims=True), "pixel")), "y")]

    def matrices(emit, x):
        return [emit(relax.op.matmul(x, emit(relax.op.permute_dims(x, [0, 1, 3, 2]), "t")), "y")]

    _check(product, (1, 4, 3, 2), spread=False)
    _check(matrices, (1, 2, 3, 4), spread=False)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_convolutions_pass_back_to_input_and_weight(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    groups, per_group, out = draw(1, 3), draw(1, 2), draw(1, 2)
    kernel, strides, dilation = ((draw(1, 3), draw(1, 3)), (draw(1, 2), draw(1, 2)), (draw(1, 2), draw(1, 2)))
    padding = tuple(draw(0, 2) for _ in range(4))
    weight = random(groups * out, per_group, *kernel, seed=1)
    module = build(
        _call(
            lambda x: relax.op.nn.conv2d(
                x, relax.const(weight), strides=strides, padding=padding, dilation=dilation, groups=groups
            )
        ),
        (1, groups * per_group, draw(5, 7), draw(5, 7)),
    )
    _check_linear(module, products.conv2d, weight)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_dense_layers_pass_back_to_input_and_weight(rows, inputs, outputs):
    weight = random(inputs, outputs, seed=1)
    module = build(_call(lambda x: relax.op.matmul(x, relax.const(weight))), (rows, inputs))
    _check_linear(module, products.dense, weight)


def _check_linear(module, compute, weight):
    """What is linear in both operands is its own derivative."""
    net = read_network(module)
    node = net.nodes[-1]
    x, other = (random(_IMAGES, *net.nodes[0].shape, seed=k) for k in (3, 4))
    result, back = compute(node, x, weight)
    np.testing.assert_allclose(result, FloatExecutor(module).evaluate(node, x), rtol=1e-4, atol=1e-4)
    gradient = random(*result.shape, seed=5)
    of_input, of_weight = back(gradient)
    assert (of_input.shape, of_weight.shape) == (x.shape, weight.shape)
    change = random(*weight.shape, seed=6)
    tolerance = 1e-4 * np.abs(gradient).sum()
    assert abs(np.vdot(of_input, other) - np.vdot(gradient, compute(node, other, weight)[0])) < tolerance
    assert abs(np.vdot(of_weight, change) - np.vdot(gradient, compute(node, x, change)[0])) < tolerance


def test_refuses_what_it_does_not_know():
    module = build(_call(lambda x: relax.op.nn.softmax(x)), (1, 4))
    node = read_network(module).nodes[-1]
    assert not differentiable(node)
    with pytest.raises(ValueError, match=r"y .* can't be differentiated"):
        pullback(FloatExecutor(module), node, random(2, 1, 4))
