"""A layer is the product of its grouped weights and the columns of its inputs."""

import numpy as np
import pytest
from small_networks import build, random
from tvm import relax

from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized.float_executor import FloatExecutor
from eq_tvm.passes.quantized.layer_matrices import (
    by_channel,
    columns,
    grouped_weight,
    output_columns,
    positions,
    read_channels,
)

LAYERS = {
    "convolution": (
        (1, 6, 5, 4),
        lambda x: relax.op.nn.conv2d(x, relax.const(random(9, 6, 3, 2)), strides=2, padding=1),
    ),
    "grouped": ((1, 6, 5, 4), lambda x: relax.op.nn.conv2d(x, relax.const(random(8, 3, 3, 3)), groups=2)),
    "depthwise": ((1, 6, 5, 4), lambda x: relax.op.nn.conv2d(x, relax.const(random(12, 1, 3, 3)), groups=6)),
    "batch": ((3, 6, 5, 4), lambda x: relax.op.nn.conv2d(x, relax.const(random(9, 2, 3, 3)), padding=1, groups=3)),
    "dense": ((1, 6), lambda x: relax.op.matmul(x, relax.const(random(6, 5)))),
    "rows": ((7, 6), lambda x: relax.op.matmul(x, relax.const(random(6, 5)))),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    """The node, and its inputs and outputs for two images."""
    shape, make = LAYERS[request.param]
    mod = build(lambda emit, x: [emit(make(x), "layer")], shape)
    net, x = read_network(mod), random(2, *shape)
    return net.nodes[-1], x, dict(FloatExecutor(mod).run(net, {0: x}))[1]


def test_product(layer):
    node, images, outputs = layer
    weight, some = grouped_weight(node, node.constant), np.arange(positions(node))[::2]
    for at in (slice(None), some):
        for x, o in zip(images, outputs, strict=True):
            np.testing.assert_allclose(weight @ columns(node, x, at), output_columns(node, o, at), rtol=1e-4, atol=1e-4)


def test_read_channels(layer):
    """Scaled by channel, inputs change a layer as weights do."""
    node, images, _ = layer
    factors = np.arange(1, 7, dtype=np.float32)
    channels = read_channels(node, 6)
    if node.op == "dense":
        assert (factors[channels].T == factors[:, None]).all()
        return
    weight = node.constant * factors[channels][..., None, None]
    scaled = images * factors[:, None, None]
    for x, y in zip(images, scaled, strict=True):
        np.testing.assert_allclose(
            grouped_weight(node, weight) @ columns(node, x, slice(None)),
            grouped_weight(node, node.constant) @ columns(node, y, slice(None)),
            rtol=1e-3,
            atol=1e-3,
        )


def test_by_channel(layer):
    _, images, _ = layer
    rows = by_channel(images)
    assert rows.shape[:2] == (2, 6)
    np.testing.assert_array_equal(rows[:, 4], images[:, :, 4].reshape(2, -1))
