"""Channels in another order: the same bits, with sums of products that fit 16 bits where they did not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import run_annotated
from small_networks import bindings, build, random, relu
from tvm import relax

from eq_tvm import passes
from eq_tvm.targets import get_target

CHANNELS = 32
X86 = get_target("x86").machine


def layer(emit, x, name, weight, **attrs):
    y = emit(relax.op.nn.conv2d(x, relax.const(weight), padding=weight.shape[2] // 2, **attrs), name)
    return emit(relax.op.add(y, relax.const(random(1, len(weight), 1, 1, seed=len(weight)))), f"{name}_sum")


def first(emit, x, name="a"):
    return layer(emit, x, name, random(CHANNELS, 3, 3, 3, seed=ord(name)))


def uneven(out, channels, size=1, seed=0):
    """Weights of which neighbours among the input channels are large, and their rows positive or negative there."""
    large = np.roll(np.where(np.arange(channels) < channels // 3, 1, 0.1), seed)
    sign = np.sign(random(out, 1, 1, 1, seed=seed + 1))
    weight = 0.2 * random(out, channels, size, size, seed=seed) + np.float32(0.8) * sign
    return (weight * large[:, None, None]).astype(np.float32)


def plain(emit, x):
    return [layer(emit, relu(emit, first(emit, x), "ra"), "b", uneven(4, CHANNELS))]


def through_depthwise(emit, x):
    a = relu(emit, first(emit, x), "ra")
    d = emit(relax.op.clip(layer(emit, a, "d", random(CHANNELS, 1, 3, 3, seed=2), groups=CHANNELS), 0, 6), "rd")
    return [layer(emit, emit(relax.op.nn.max_pool2d(d, (2, 2), (2, 2)), "pool"), "b", uneven(4, CHANNELS, 3))]


def residual(emit, x):
    a = relu(emit, first(emit, x), "ra")
    c = layer(emit, a, "c", random(CHANNELS, CHANNELS, 3, 3))
    return [layer(emit, relu(emit, emit(relax.op.add(c, a), "total"), "rt"), "b", uneven(4, CHANNELS))]


def concatenated(emit, x):
    parts = [relu(emit, first(emit, x, name), f"r{name}") for name in "ac"]
    return [layer(emit, emit(relax.op.concat(parts, axis=1), "both"), "b", uneven(4, 2 * CHANNELS, seed=22))]


def gated(emit, x):
    a = relu(emit, first(emit, x), "ra")
    gate = layer(emit, emit(relax.op.mean(a, [2, 3], keepdims=True), "mean"), "g", random(CHANNELS, CHANNELS, 1, 1))
    scaled = emit(relax.op.multiply(a, emit(relax.op.sigmoid(gate), "gate")), "scaled")
    return [layer(emit, scaled, "b", uneven(4, CHANNELS))]


def flattened(emit, x):
    """The layer behind it sees each channel's pixels side by side; another one gains."""
    (b,) = plain(emit, x)
    a = relu(emit, b, "rb")
    fc = emit(relax.op.matmul(emit(relax.op.reshape(a, (1, 4 * 64)), "flat"), relax.const(random(256, 5))), "fc")
    return [fc, emit(relax.op.mean(a, [2, 3], keepdims=True), "mean")]


def with_slopes(emit, x):
    a = emit(relax.op.nn.prelu(first(emit, x), relax.const(random(CHANNELS)), 1), "sloped")
    return [layer(emit, a, "b", uneven(4, CHANNELS))]


def with_bounds(emit, x):
    bounds = np.linspace(1, 4, CHANNELS, dtype=np.float32).reshape(1, CHANNELS, 1, 1)
    a = emit(relax.op.minimum(relu(emit, first(emit, x), "ra"), relax.const(bounds)), "bounded")
    return [layer(emit, a, "b", uneven(4, CHANNELS))]


def rows(emit, x):
    """Two dense layers of pixels, with a function by a table between them, and a normalization."""
    pixels = emit(relax.op.reshape(emit(relax.op.permute_dims(first(emit, x), [0, 2, 3, 1]), "nhwc"), (64, 32)), "rows")
    a = emit(relax.op.matmul(pixels, relax.const(random(CHANNELS, 2 * CHANNELS))), "p")
    h = emit(relax.op.nn.gelu(emit(relax.op.reshape(a, (1, 64, 2 * CHANNELS)), "3d")), "gelu")
    b = uneven(CHANNELS, 2 * CHANNELS)[:, :, 0, 0].T.copy()
    c = emit(relax.op.matmul(emit(relax.op.reshape(h, (64, 2 * CHANNELS)), "2d"), relax.const(b)), "b")
    gamma, beta = (relax.const(random(CHANNELS, seed=seed)) for seed in (1, 2))
    normal = emit(relax.op.nn.layer_norm(c, gamma, beta, axes=[-1]), "normal")
    return [emit(relax.op.matmul(normal, relax.const(uneven(5, CHANNELS)[:, :, 0, 0].T.copy())), "q")]


def by_rows(emit, x):
    """Chains of six take 24 channels: 64 do not fill them, those of three columns do, each from another place on."""
    weight = random(32, 64, 3, 3, seed=3)
    return [layer(emit, relu(emit, layer(emit, x, "a", random(64, 3, 3, 3)), "ra"), "b", weight)]


NETWORKS = [
    plain,
    by_rows,
    through_depthwise,
    residual,
    concatenated,
    gated,
    flattened,
    with_slopes,
    with_bounds,
    rows,
]


def chains(annotated):
    """How many vectors of products each layer adds in 16 bits."""
    lower = passes.LowerToInteger(X86)
    lower(annotated)
    return {layer["layer"]: int(layer["instruction"].rpartition("_x")[2]) for layer in lower.record}


def test_rows_fill_chains_of_six():
    annotated = passes.MinMaxCalibrate({"x": random(4, 3, 8, 8)}, scheme="int7")(build(by_rows))
    assert chains(annotated)["b"] == 4 and chains(passes.OrderChannels(X86)(annotated))["b"] == 6


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_sums_get_longer(make):
    images, order = random(4, 3, 8, 8), passes.OrderChannels(X86)
    annotated = passes.MinMaxCalibrate({"x": images}, scheme="int7")(build(make))
    ordered = order(annotated)
    assert "b" in order.record
    before, after = chains(annotated), chains(ordered)
    assert after["b"] > before["b"] and all(after[name] >= before[name] for name in before)
    assert_same(annotated, ordered, images[:1])


def given_to_float(emit, x):
    """What takes all channels together, in floats."""
    a = relu(emit, first(emit, x), "ra")
    exp = emit(relax.op.exp(emit(relax.op.mean(a, [1], keepdims=True), "means")), "other")
    return [layer(emit, a, "b", uneven(4, CHANNELS)), exp]


def output_as_well(emit, x):
    a = relu(emit, first(emit, x), "ra")
    return [layer(emit, a, "b", uneven(4, CHANNELS)), a]


def twice(emit, x):
    a = relu(emit, first(emit, x), "ra")
    return [layer(emit, emit(relax.op.concat([a, a], axis=1), "both"), "b", uneven(4, 2 * CHANNELS))]


def beside_a_constant(emit, x):
    """Whose channels are before them."""
    a = relu(emit, first(emit, x), "ra")
    joined = emit(relax.op.concat([relax.const(random(1, CHANNELS, 8, 8)), a], axis=1), "joined")
    return [layer(emit, joined, "b", uneven(4, 2 * CHANNELS, seed=22))]


def beside_large_ones(emit, x):
    """Sums of what stays, of one column of the kernel, are beyond 16 bits whatever moves elsewhere."""
    stays, a = (relu(emit, layer(emit, x, name, random(64, 3, 3, 3, seed=ord(name))), f"r{name}") for name in "ca")
    weight = 0.1 * random(32, 128, 3, 3, seed=3)
    weight[:, :8, :, 0] = 1
    return [layer(emit, emit(relax.op.concat([stays, a], axis=1), "joined"), "b", weight), stays]


def slopes_of_rows(emit, x):
    """Not of channels."""
    pixels = emit(relax.op.reshape(emit(relax.op.permute_dims(first(emit, x), [0, 2, 3, 1]), "nhwc"), (64, 32)), "rows")
    a = emit(relax.op.matmul(pixels, relax.const(random(CHANNELS, 64))), "p")
    sloped = emit(relax.op.nn.prelu(emit(relax.op.reshape(a, (1, 64, 64)), "3d"), relax.const(random(64)), 1), "sloped")
    b = uneven(CHANNELS, 64)[:, :, 0, 0].T.copy()
    return [emit(relax.op.matmul(emit(relax.op.reshape(sloped, (64, 64)), "2d"), relax.const(b)), "b")]


def split(emit, x):
    """Halves of the channels."""
    halves = emit(relax.op.split(relu(emit, first(emit, x), "ra"), 2, axis=1), "halves")
    return [layer(emit, emit(relax.TupleGetItem(halves, 0), "half"), "b", uneven(4, CHANNELS // 2))]


def even(emit, x):
    return [layer(emit, relu(emit, first(emit, x), "ra"), "b", random(4, CHANNELS, 1, 1) ** 5)]


def of_the_image(emit, x):
    return [layer(emit, x, "b", uneven(4, 3))]


@pytest.mark.parametrize(
    "make",
    [
        given_to_float,
        output_as_well,
        twice,
        beside_a_constant,
        beside_large_ones,
        slopes_of_rows,
        split,
        even,
        of_the_image,
    ],
    ids=lambda make: make.__name__,
)
def test_what_stays(make):
    """Channels that something else reads in their order, and those of which nothing gets better."""
    order = passes.OrderChannels(X86)
    annotated = passes.MinMaxCalibrate({"x": random(4, 3, 8, 8)}, scheme="int7")(build(make))
    after = order(annotated)
    assert not order.record and bindings(annotated).keys() == bindings(after).keys()


def test_layers_that_are_kept_float_add_in_their_order():
    images, order = random(4, 3, 8, 8), passes.OrderChannels(X86)
    calibrate = passes.MinMaxCalibrate({"x": images}, scheme="int7", kept={"c": "float"})

    def make(emit, x):
        a = relu(emit, first(emit, x), "ra")
        return [layer(emit, a, name, uneven(4, CHANNELS)) for name in "bc"]

    order(calibrate(build(make)))
    assert not order.record


def test_nothing_is_to_gain_where_products_go_to_32_bits():
    order = passes.OrderChannels(get_target("x86-vnni").machine)
    order(passes.MinMaxCalibrate({"x": random(4, 3, 8, 8)}, scheme="int7")(build(plain)))
    assert not order.record


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from([16, 24, 32, 48]),
    st.sampled_from(["depthwise", "residual", "chain"]),
    st.sampled_from(["x86", "rpi3", "rpi3-32"]),
)
def test_no_network_computes_something_else(seed, channels, kind, target):
    def make(emit, x):
        before = x
        for i in range(3):
            inputs = int(x.ty.shape[1])
            x = relu(emit, layer(emit, x, f"p{i}", uneven(channels, inputs, 1, seed + i)), f"rp{i}")
            if kind == "depthwise":
                x = relu(emit, layer(emit, x, f"d{i}", random(channels, 1, 3, 3, seed=i), groups=channels), f"rd{i}")
            elif kind == "residual" and i:
                x = emit(relax.op.add(x, before), f"sum{i}")
            before = x
        return [layer(emit, x, "last", uneven(5, channels, 3, seed))]

    images = random(2, 3, 8, 8, seed=seed)
    annotated = passes.MinMaxCalibrate({"x": images}, scheme="int7")(build(make))
    assert_same(annotated, passes.OrderChannels(get_target(target).machine)(annotated), images[:1])


def assert_same(annotated, ordered, image):
    for one, other in zip(*(run_annotated(mod, {"x": image}) for mod in (annotated, ordered)), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
