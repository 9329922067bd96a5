"""Images get nearer to what batch norms saw, by the right gradients, and stay in their bounds."""

import sys

import numpy as np
import pytest
from onnx_models import random
from rewriting import module
from tvm import relax

from eq_tvm.passes import FoldBatchNorm, batch_statistics, match_statistics, matched_layers, matched_norms
from eq_tvm.passes.canonical.fold_batch_norm import Statistics
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.quantized.float_executor import FloatExecutor
from eq_tvm.passes.quantized.layer_matrices import by_channel
from eq_tvm.passes.synthesize.match_statistics import _Matched

SHAPE = (1, 3, 12, 12)


def block(x, seed, channels=8):
    """Convolution and batch norm of an image."""
    weight = random(channels, 3, 3, 3, seed=seed) * np.float32(0.3)
    y = relax.op.nn.conv2d(x, relax.const(weight), padding=1)
    gamma, beta = np.abs(random(channels, seed=seed + 1)) + np.float32(0.5), random(channels, seed=seed + 2)
    mean, variance = random(channels, seed=seed + 3), np.abs(random(channels, seed=seed + 4)) + np.float32(0.5)
    numbers = map(relax.const, (gamma, beta, mean, variance))
    return relax.TupleGetItem(relax.op.nn.batch_norm(y, *numbers, axis=1, training=False), 0)


@pytest.fixture(scope="module")
def network():
    def make(x):
        first = relax.op.clip(block(x, 1), 0, 6)
        weight = relax.const(random(8, 8, 1, 1, seed=50))
        return relax.op.add(relax.op.nn.conv2d(first, weight), first)

    return FoldBatchNorm()(module(make, SHAPE))


def distance(mod, images):
    """The mean square of how far means and deviations are from those of batch norms, in deviations."""
    net, statistics, found = read_network(mod), batch_statistics(mod), []
    name = net.nodes[0].name
    for i, value in FloatExecutor(mod).run(net, {0: images.reshape(len(images), *net.nodes[0].shape)}):
        if (target := statistics.get(net.nodes[i].name)) is not None:
            x = by_channel(value).astype(np.float64)
            unit = np.maximum(target.deviation, 0.05 * np.median(target.deviation) + 1e-12)
            errors = (x.mean((0, 2)) - target.mean) / unit, (x.std((0, 2)) - target.deviation) / unit
            found.append(sum(np.mean(e**2) for e in errors))
    assert name and found
    return float(sum(found))


def test_nearer(network):
    images = random(10, *SHAPE[1:], seed=3)
    matched = match_statistics(network, {"x0": images}, {})["x0"]
    assert matched.dtype == np.float32 and matched.shape == images.shape
    assert distance(network, matched) < 0.75 * distance(network, images)
    assert np.array_equal(matched, match_statistics(network, {"x0": images}, {})["x0"])


def test_large_images_are_matched_few_at_a_time(network, monkeypatch):
    """As many as memory holds values of, and what windows of 3 x 3 see of them."""
    held = _Matched(network, read_network(network), batch_statistics(network)).held()
    monkeypatch.setattr(sys.modules[_Matched.__module__], "_HELD", 2.5 * held)
    monkeypatch.setattr(sys.modules[_Matched.__module__], "_ALL_HELD", held)
    images, bounds = random(5, *SHAPE[1:], seed=3), {"x0": (np.float32(-5), np.float32(5))}
    matched = match_statistics(network, {"x0": images}, bounds)["x0"]
    pair = match_statistics(network, {"x0": images[:2]}, bounds)["x0"]
    assert np.array_equal(matched[:2], pair) and distance(network, matched) < distance(network, images)


def test_what_is_held_in_memory():
    weight = relax.const(random(4, 3, 3, 3))
    mod = module(lambda x: relax.op.nn.conv2d(x, weight), (1, 3, 8, 8))
    net = read_network(mod)
    found = _Matched(mod, net, {net.nodes[1].name: Statistics(np.ones(4), np.ones(4))})
    assert found.held() == 3 * 8 * 8 + 4 * 6 * 6 + 3 * 3 * 3 * 6 * 6  # the image, the result, its windows


def test_gradient(network):
    """By differences."""
    images = random(3, *SHAPE[1:], seed=4)
    gradient = _Matched(network, read_network(network), batch_statistics(network)).gradients({"x0": images})["x0"]
    direction = random(*images.shape, seed=5)
    step = 1e-2
    ends = [distance(network, images + sign * np.float32(step) * direction) for sign in (1, -1)]
    assert np.vdot(gradient, direction) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.05)


def test_bounds(network):
    low, high = np.float32([-0.5, -0.4, -0.3]).reshape(3, 1, 1), np.float32(0.5)
    images = np.clip(random(4, *SHAPE[1:]), low, high)
    matched = match_statistics(network, {"x0": images}, {"x0": (low, high)})["x0"]
    assert (matched >= low).all() and (matched <= high).all() and not np.array_equal(matched, images)


def test_without_batch_norms():
    weight = relax.const(random(4, 3, 3, 3))
    mod = module(lambda x: relax.op.nn.conv2d(x, weight), SHAPE)
    images = random(2, *SHAPE[1:])
    assert match_statistics(mod, {"x0": images}, {})["x0"] is images


def test_typical_images_in_place_of_batch_norms():
    """Behind both convolutions, the second one's without a bias."""
    weights = [relax.const(random(8, channels, 3, 3, seed=channels) * np.float32(0.3)) for channels in (3, 8)]
    bias = relax.const(random(1, 8, 1, 1))

    def make(x):
        first = relax.op.nn.relu(relax.op.add(relax.op.nn.conv2d(x, weights[0], padding=1), bias))
        return relax.op.nn.conv2d(first, weights[1])

    mod, typical = module(make, SHAPE), random(6, *SHAPE[1:], seed=1) * np.float32(1.3) + np.float32(0.4)
    images = random(10, *SHAPE[1:], seed=2)
    matched = match_statistics(mod, {"x0": images}, {}, typical={"x0": typical})["x0"]

    def means(images):
        net = read_network(mod)
        run = FloatExecutor(mod).run(net, {0: images.reshape(-1, *net.nodes[0].shape)})
        return np.concatenate([by_channel(value).mean((0, 2)) for i, value in run if net.nodes[i].op in _BEHIND])

    near, far = (np.abs(means(x) - means(typical)).mean() for x in (matched, images))
    assert near < 0.75 * far
    assert (matched_layers(mod, 10), matched_norms(mod, 10)) == (2, 0)


_BEHIND = {"bias_add", "conv2d"}


def before_activation(x, deviations):
    """A batch norm of an image and one between a sum and a relu, as networks have them whose activations come first."""

    def norm(x, channels, seed):
        gamma, variance = (np.abs(random(channels, seed=seed + i)) + np.float32(0.5) for i in (0, 1))
        numbers = gamma * deviations, random(channels, seed=seed + 2), random(channels, seed=seed + 3), variance
        return relax.TupleGetItem(relax.op.nn.batch_norm(x, *map(relax.const, numbers), axis=1, training=False), 0)

    y = norm(x, 3, seed=1)
    y = relax.op.nn.conv2d(y, relax.const(random(3, 3, 3, 3, seed=9) * np.float32(0.3)), padding=1)
    return relax.op.nn.relu(norm(relax.op.add(y, x), 3, seed=5))


def test_in_front_of_activations():
    """Batch norms that no layer takes up are differentiated as what they stay."""
    mod = FoldBatchNorm()(module(lambda x: before_activation(x, np.float32([1, 0, 2])), SHAPE))
    images = random(8, *SHAPE[1:], seed=3)
    matched = match_statistics(mod, {"x0": images}, {})["x0"]
    assert len(batch_statistics(mod)) == matched_norms(mod, 8) == 2
    assert np.isfinite(matched).all()
    gradient = _Matched(mod, read_network(mod), batch_statistics(mod)).gradients({"x0": images})["x0"]
    assert np.isfinite(gradient).all() and gradient.any()
    matched = match_statistics(mod, {"x0": images}, {})["x0"]
    live = FoldBatchNorm()(module(lambda x: before_activation(x, np.float32([1, 1, 2])), SHAPE))
    assert distance(live, match_statistics(live, {"x0": images}, {})["x0"]) < 0.75 * distance(live, images)


def test_batch_norms_that_make_constants():
    """What has no deviation says nothing of images."""
    mod = FoldBatchNorm()(module(lambda x: before_activation(x, np.float32(0)), SHAPE))
    images = random(2, *SHAPE[1:])
    assert matched_norms(mod, 2) == 0
    assert match_statistics(mod, {"x0": images}, {})["x0"] is images


def test_behind_what_can_not_be_differentiated():
    """Rounding passes nothing back: the images stay."""
    mod = FoldBatchNorm()(module(lambda x: block(relax.op.round(x), 1), SHAPE))
    images = random(2, *SHAPE[1:])
    assert batch_statistics(mod) and match_statistics(mod, {"x0": images}, {})["x0"] is images
    assert matched_norms(mod, 2) == 0


def test_how_many_are_matched(network):
    assert matched_norms(network, 50) == 1
    assert matched_norms(network, 10**9) == 0  # there is no time for a single step
