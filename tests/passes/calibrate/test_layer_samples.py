"""Samples take the same positions from inputs and outputs."""

import numpy as np
import pytest
from small_networks import build, random
from tvm import relax

from eq_tvm.passes.calibrate import layer_samples
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized.float_operators.convolution import conv2d
from eq_tvm.passes.quantized.layer_matrices import grouped_weight

CONVOLUTIONS = {
    "plain": ((6, 4, 3, 3), {"padding": 1}),
    "strided": ((6, 4, 3, 2), {"strides": (2, 1), "padding": (1, 0, 0, 1), "dilation": (1, 2)}),
    "grouped": ((6, 2, 3, 3), {"groups": 2}),
    "depthwise": ((4, 1, 3, 3), {"groups": 4, "padding": 1}),
    "pointwise": ((6, 4, 1, 1), {}),
}


def _node(name):
    shape, attrs = CONVOLUTIONS[name]
    mod = build(lambda emit, x: [emit(relax.op.nn.conv2d(x, relax.const(random(*shape)), **attrs), "a")], (1, 4, 9, 9))
    return read_network(mod).nodes[1]


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("rows", [(1, 1), (5, 5), (1000, 1000)])
def test_weight_sample(name, rows, monkeypatch):
    monkeypatch.setattr(layer_samples, "_WEIGHT_ROWS", rows)
    node = _node(name)
    x = np.random.default_rng(0).integers(-63, 64, (3, 1, 4, 9, 9)).astype(np.int8)
    output = conv2d(node, x * np.float32(0.1))
    sample = layer_samples.layer_weight_sample(node, x, np.float32(0.1), output, seed=1)
    weight = grouped_weight(node, node.constant)
    outputs = sample.rows @ weight.transpose(0, 2, 1)  # of the sampled rows, or of as long ones
    np.testing.assert_allclose(np.square(outputs).sum(axis=2), sample.squares, rtol=1e-3)
    if sample.correlations is None:
        np.testing.assert_allclose(outputs, sample.targets, rtol=1e-3, atol=1e-3 * np.abs(outputs).max())
        return
    correlations = sample.rows.transpose(0, 1, 3, 2) @ outputs
    np.testing.assert_allclose(correlations, sample.correlations, rtol=1e-3, atol=1e-3 * np.abs(correlations).max())


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("rows", [(1, 1), (5, 5), (1000, 1000)])
def test_activation_sample(name, rows, monkeypatch):
    monkeypatch.setattr(layer_samples, "_ACTIVATION_ROWS", rows)
    node = _node(name)
    x = random(3, 1, 4, 9, 9)
    node.constant = np.rint(20 * node.constant)
    scale = np.ones(len(node.constant), np.float32)
    sample = layer_samples.layer_activation_sample(node, x, x, scale, 127, seed=1)
    positions = min(rows[0], node.shape[2] * node.shape[3])
    assert sample.target.shape == (3, node.expr.attrs.groups, positions, len(node.constant) // node.expr.attrs.groups)
    np.testing.assert_allclose(sample.x @ sample.weight, sample.target, rtol=1e-4, atol=1e-3)


def test_tensor_sample():
    x = random(3, 1, 4, 99, 99)
    sample = layer_samples.tensor_sample(x, 2 * x, seed=1)
    np.testing.assert_array_equal(sample.x * 2, sample.target)
    assert sample.weight is None
