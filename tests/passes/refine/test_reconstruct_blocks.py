"""Roundings learned by blocks."""

import numpy as np
import pytest
from small_networks import build, conv, network, random, relu
from tvm import relax

from eq_tvm.passes import MSECalibrate, compare_outputs, reconstruct_blocks, round_weights
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized import parallel
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.passes.refine.block_gradients import BlockFunction, Constants
from eq_tvm.passes.refine.blocks import blocks
from eq_tvm.passes.refine.soft_rounding import SoftRounding

IMAGES = {"x": random(20, 3, 8, 8, seed=7)}
UNSEEN = {"x": random(40, 3, 8, 8, seed=8)}


def _cut(make, shape=(1, 3, 8, 8)):
    """Names of the layers in each block."""
    problem = Problem.of(build(make, shape), {"x": random(2, *shape[1:])}, "int4", "unsigned")
    nodes = problem.net.nodes
    found = blocks(problem.net, problem.points)
    assert all(set(block.inputs).isdisjoint(block.nodes) for block in found)
    return [[nodes[i].name for i in block.nodes if nodes[i].op in ("conv2d", "dense")] for block in found]


def test_blocks_end_where_one_tensor_carries_all():
    def residual(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        b = relu(emit, conv(emit, a, "b"), "rb")
        c = relu(emit, emit(relax.op.add(conv(emit, b, "c"), a), "sum"), "rc")
        depthwise = relu(emit, conv(emit, c, "dw", weight=random(4, 1, 3, 3), groups=4), "rdw")
        return [conv(emit, relu(emit, conv(emit, depthwise, "d"), "rd"), "e")]

    assert _cut(residual) == [["a"], ["b", "c"], ["dw", "d", "e"]]


def test_what_has_no_gradient_leaves_single_layers():
    def attention(emit, x):
        a = relu(emit, conv(emit, x, "a"), "ra")
        shares = emit(relax.op.nn.softmax(conv(emit, a, "b"), axis=1), "shares")
        return [conv(emit, relu(emit, conv(emit, emit(relax.op.multiply(shares, a), "m"), "c"), "rc"), "d")]

    assert [layers for part in _cut(attention) for layers in [part] if "b" in layers] == [["b"]]


def _scales(module, refine, scheme="int4", images=IMAGES, **how):
    found = {}

    def keep(problem, scales, progress):
        refined = refine(problem, scales, progress, **how)
        found["scales"] = scales
        return refined

    annotation = MSECalibrate(images, scheme=scheme, refine=keep)
    return annotation(module), found["scales"], annotation.record


def _error(module, annotated, scheme="int4"):
    ((expected, result),) = next(compare_outputs(module, annotated, [UNSEEN], scheme=scheme))
    return float(np.square(result - expected).mean() / np.square(expected).mean())


def test_errors_of_blocks_sink_on_images_that_are_held_out():
    # The network's own error says little here: weights are random, and images few. `test_conformance` has real ones.
    module, sunk = build(network), []
    for seed in range(7, 12):
        *_, record = _scales(module, reconstruct_blocks, images={"x": random(20, 3, 8, 8, seed=seed)}, steps=60)
        errors = [layer.steps["block"] for layer in record]
        assert all(after <= before for before, after in errors)
        sunk += [after / before for before, after in errors]
    assert np.mean(sunk) < 0.97


def test_the_same_bits_twice_and_by_one_thread(monkeypatch):
    module = build(network)
    _, first, _ = _scales(module, reconstruct_blocks, steps=5)
    monkeypatch.setattr(parallel, "iterate_threads", map)
    _, second, _ = _scales(module, reconstruct_blocks, steps=5)
    np.testing.assert_array_equal(first.activations, second.activations)
    assert first.constants.keys() == second.constants.keys()
    for i, values in first.constants.items():
        np.testing.assert_array_equal(values, second.constants[i])


def test_gradients_of_a_block_are_those_of_its_error():
    problem = Problem.of(build(network), IMAGES, "int8", "unsigned")
    block = max(blocks(problem.net, problem.points), key=lambda block: len(block.nodes))
    nodes, group_of = problem.net.nodes, problem.points.scale_group_of
    # so coarse that nothing saturates, and so fine that rounding changes next to nothing
    groups = {group_of[j] for j in (*block.inputs, *block.nodes) if j in group_of}
    ranges = [type(group.range)("int32", -(2**20), 2**20) for group in problem.points.scale_groups]
    tensors = {i: nodes[i].constant for i in block.nodes if nodes[i].op in ("conv2d", "dense", "bias_add")}
    constants = Constants(tensors, dict.fromkeys(groups, np.float32(2.0**-12)))
    function = BlockFunction(problem.executor, problem.net, problem.points, block, ranges)
    inputs = {j: random(3, *nodes[j].shape, seed=j) for j in block.inputs}
    weight = np.array([0.5, 1, 2])
    target = function(inputs) + np.float32(0.5)

    def error(changed):
        missed = np.square(function(inputs, Constants(constants.tensors | changed, constants.scales)) - target)
        return float((missed.reshape(3, -1).sum(axis=1) * weight).sum())

    _, found = function.gradients(inputs, constants, target, weight)
    assert found.tensors.keys() == tensors.keys()
    for i, gradient in found.tensors.items():
        direction = random(*gradient.shape, seed=i) * np.float32(2e-3)
        difference = (error({i: tensors[i] + direction}) - error({i: tensors[i] - direction})) / 2
        size = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert abs(np.vdot(gradient, direction) - difference) < 0.05 * size, nodes[i].name


def test_soft_roundings_start_at_both_neighbours_and_end_at_integers():
    weight = np.linspace(-3.4, 3.4, 50)
    integers = np.clip(np.rint(weight + 0.3), -3, 3)
    rounding = SoftRounding(integers, weight, 3, 0.5)
    assert (np.abs(rounding.soft - integers) <= 1).all()
    for _ in range(200):
        rounding.move(np.float32(0.1) * rounding.push(0.3))
    np.testing.assert_array_equal(rounding.soft, rounding.rounded)
    assert np.abs(rounding.rounded).max() <= 3
    assert not rounding.slope().any()


@pytest.mark.parametrize("scheme", ["int7", "int8"])
def test_many_bits_are_no_worse(scheme):
    module = build(network)
    by_layers, *_ = _scales(module, round_weights, scheme)
    by_blocks, *_ = _scales(module, reconstruct_blocks, scheme, steps=40)
    assert _error(module, by_blocks, scheme) < 1.1 * _error(module, by_layers, scheme)


def test_one_image_is_enough():
    module = build(network)
    annotation = MSECalibrate({"x": IMAGES["x"][:1]}, scheme="int4", refine=lambda *a: reconstruct_blocks(*a, steps=2))
    assert read_network(annotation(module)).nodes
