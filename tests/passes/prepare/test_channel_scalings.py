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


def check(make, images, held_out, shape, *, added, gain=0.2):
    """The function stays, `added` is there, and less than `gain` of the loss is left."""
    module = build(make, shape)
    equalized = EqualizeChannels({"x": images}, scheme="int8")(module)
    assert (added in bindings(equalized)) == (gain < 1)
    expected = np.stack(run_all(module, held_out))
    np.testing.assert_allclose(np.stack(run_all(equalized, held_out)), expected, atol=1e-4 * np.abs(expected).max())
    if gain < 1:
        assert loss(equalized, images, held_out) < gain * loss(module, images, held_out)


def test_inputs_of_uneven_channels_get_factors():
    def make(emit, x):
        return [conv(emit, x, "last", weight=random(4, 8, 3, 3) / RANGES)]

    images, held_out = random(8, 8, 8, 8) * RANGES, random(4, 8, 8, 8, seed=1) * RANGES
    check(make, images, held_out, (1, 8, 8, 8), added="x_scaled")


def test_so_do_inputs_that_are_transposed_and_joined():
    def make(emit, x):
        moved = emit(relax.op.permute_dims(x, (0, 3, 1, 2)), "moved")
        both = emit(relax.op.concat([moved, emit(relax.op.nn.max_pool2d(moved, (3, 3), padding=1), "pool")], 1), "both")
        return [conv(emit, both, "last", weight=random(4, 16, 3, 3) / np.concatenate([RANGES] * 2, 1))]

    ranges = RANGES.reshape(8)
    images, held_out = random(8, 8, 8, 8) * ranges, random(4, 8, 8, 8, seed=1) * ranges
    check(make, images, held_out, (1, 8, 8, 8), added="both_scaled")


def test_features_of_a_dense_layer_get_factors():
    ranges = np.float32(10.0 ** np.linspace(-2, 5, 8)).reshape(1, 8)  # incomes and flags

    def make(emit, x):
        return [emit(relax.op.matmul(x, relax.const(random(8, 4) / ranges.T)), "last")]

    images, held_out = random(64, 8) * ranges, random(16, 8, seed=1) * ranges
    check(make, images, held_out, (1, 8), added="x_scaled")


def test_inputs_of_even_channels_are_left():
    def make(emit, x):
        return [conv(emit, x, "last", weight=random(4, 3, 3, 3))]

    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8)) / np.float32([255, 225, 300]).reshape(3, 1, 1)
    images, held_out = np.split(pixels.astype("float32"), [8])
    check(make, images, held_out, (1, 3, 8, 8), added="x_scaled", gain=1)

    def transposed(emit, x):
        return [conv(emit, emit(relax.op.permute_dims(x, (0, 3, 1, 2)), "moved"), "last", weight=random(4, 3, 3, 3))]

    check(
        transposed, *(x.transpose(0, 2, 3, 1) for x in (images, held_out)), (1, 8, 8, 3), added="moved_scaled", gain=1
    )


def test_joined_functions_get_a_factor_each():
    """It costs nothing: it is in the table of the function."""

    def make(emit, x):
        parts = [
            emit(relax.op.nn.silu(conv(emit, x, name, weight=size * random(8, 4, 3, 3, seed=seed))), f"{name}_silu")
            for seed, (name, size) in enumerate({"large": 100.0, "small": 0.5}.items())
        ]
        weight = random(4, 16, 3, 3)
        weight[:, 8:] *= 200
        return [conv(emit, emit(relax.op.concat(parts, axis=1), "both"), "last", weight=weight)]

    check(make, random(8, 4, 8, 8), random(4, 4, 8, 8, seed=1), (1, 4, 8, 8), added="small_silu_scaled")


def test_what_others_read_is_left():
    def make(emit, x):
        summed = emit(relax.op.cumsum(x, axis=3), "summed")
        return [
            conv(emit, summed, "last", weight=random(4, 8, 3, 3) / RANGES),
            emit(relax.op.cumsum(summed, axis=2), "out"),
        ]

    images = random(8, 8, 8, 8) * RANGES
    equalized = EqualizeChannels({"x": images}, scheme="int8")(build(make, (1, 8, 8, 8)))
    assert "summed_scaled" not in bindings(equalized)


def test_joined_functions_come_down_to_what_takes_no_factor():
    """As x that its own multiple is joined with: the function reads x, whose channels stay as they are then."""

    def make(emit, x):
        small = emit(relax.op.nn.relu(conv(emit, x, "small", out=8)), "relu")
        both = emit(
            relax.op.concat([small, emit(relax.op.multiply(small, relax.const(np.float32(1000))), "thousand")], axis=1),
            "both",
        )
        weight = random(4, 16, 3, 3)
        weight[:, 8:] /= 1000
        return [conv(emit, both, "last", weight=weight)]

    check(make, random(8, 4, 8, 8), random(4, 4, 8, 8, seed=1), (1, 4, 8, 8), added="thousand_scaled", gain=0.01)
