"""Channels that float operators make are equalized, too, where layers read them in integers."""

import numpy as np
from small_networks import bindings, build, conv, random, run_all
from tvm import relax

from eq_tvm.passes import EqualizeChannels, MinMaxCalibrate

RANGES = np.float32(10.0 ** np.linspace(-3, 1, 8)).reshape(1, 8, 1, 1)


def network(ranges):
    """A cumulative sum, which is no integer operator, of channels of such ranges, which all count the same."""

    def make(emit, x):
        summed = emit(relax.op.cumsum(emit(relax.op.multiply(x, relax.const(ranges)), "ranged"), axis=3), "summed")
        return [conv(emit, summed, "last", weight=random(4, 8, 3, 3) / ranges)]

    return build(make, (1, 8, 8, 8))


def loss(module, images, held_out):
    annotated = MinMaxCalibrate({"x": images}, scheme="int8")(module)
    expected = np.stack(run_all(module, held_out))
    return np.square(np.stack(run_all(annotated, held_out)) - expected).mean() / np.square(expected).mean()


def test_they_get_factors():
    module, images, held_out = network(RANGES), random(8, 8, 8, 8), random(4, 8, 8, 8, seed=1)
    equalized = EqualizeChannels({"x": images}, scheme="int8")(module)
    assert "summed_scaled" in bindings(equalized)
    expected = np.stack(run_all(module, held_out))
    np.testing.assert_allclose(np.stack(run_all(equalized, held_out)), expected, atol=1e-4 * np.abs(expected).max())
    assert loss(equalized, images, held_out) < 0.2 * loss(module, images, held_out)


def test_products_of_the_network_are_no_constants():
    def make(emit, x):
        summed = emit(relax.op.cumsum(x, axis=3), "summed")
        return [
            conv(emit, emit(relax.op.multiply(summed, emit(relax.op.cumsum(x, axis=2), "other")), "a_scaled"), "last")
        ]

    EqualizeChannels({"x": random(4, 8, 8, 8)}, scheme="int8")(build(make, (1, 8, 8, 8)))


def test_no_product_where_they_are_even():
    module = network(np.ones_like(RANGES))
    assert "summed_scaled" not in bindings(EqualizeChannels({"x": random(8, 8, 8, 8)}, scheme="int8")(module))
