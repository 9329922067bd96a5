"""Preparation leaves the float network as it was on every input, whatever calibration saw."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import run_annotated
from small_networks import build, random
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.passes.analysis.float_reference import FloatReference
from eq_tvm.passes.graph.rewrite import operator_name
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.preprocess import Preprocess

SHAPE = (3, 8, 8)


def clip(emit, x, low, high):
    return emit(relax.op.clip(x, low, high), "bounded")


def hard_swish(emit, x):
    gate = clip(emit, emit(relax.op.add(x, relax.const(np.float32(3))), "more"), 0, 6)
    return emit(relax.op.multiply(x, emit(relax.op.divide(gate, relax.const(np.float32(6))), "gate")), "swish")


ACTIVATIONS = {
    "relu": lambda emit, x: emit(relax.op.nn.relu(x), "rectified"),
    "relu6": partial(clip, low=0, high=6),
    "low bound": partial(clip, low=0, high=0.75),
    "odd bounds": partial(clip, low=-0.3, high=1.7),
    "positive bounds": partial(clip, low=0.2, high=4),
    "prelu": lambda emit, x: emit(relax.op.nn.prelu(x, relax.const(random(int(x.ty.shape[1]), seed=5)), 1), "sloped"),
    "hard swish": hard_swish,
    "silu": lambda emit, x: emit(relax.op.nn.silu(x), "silu"),
    "none": lambda emit, x: x,
}


def layer(emit, x, seed, kind):
    """A convolution with a bias, whose channels have very different ranges."""
    channels, depthwise = int(x.ty.shape[1]), kind == "depthwise"
    spread = np.float32(10.0) ** np.linspace(-1.5, 0.5, 6, dtype=np.float32).reshape(-1, 1, 1, 1)
    size = 1 if kind == "pointwise" else 3
    weight = random(6, 1 if depthwise else channels, size, size, seed=seed) * np.roll(spread, seed) * np.float32(0.5)
    attrs = {"groups": channels} if depthwise else {}
    y = emit(relax.op.nn.conv2d(x, relax.const(weight), padding=size // 2, **attrs), f"layer{seed}")
    return emit(relax.op.add(y, relax.const(random(1, 6, 1, 1, seed=seed + 9))), f"sum{seed}")


def network(blocks):
    """Blocks of (kind of layer, activation, what comes behind) between two convolutions."""

    def make(emit, x):
        x = ACTIVATIONS["relu6"](emit, layer(emit, x, 1, "whole"))
        for seed, (kind, activation, behind) in enumerate(blocks, 2):
            before, x = x, ACTIVATIONS[activation](emit, layer(emit, x, seed, kind))
            if behind == "residual":
                x = emit(relax.op.add(x, before), "total")
            elif behind == "concat":
                x = emit(relax.op.concat([x, before], axis=1), "both")
                x = ACTIVATIONS["relu6"](emit, layer(emit, x, seed + 20, "pointwise"))
            elif behind == "pool":
                x = ACTIVATIONS["relu6"](emit, emit(relax.op.nn.max_pool2d(x, (3, 3), padding=1), "pool"))
        return [layer(emit, x, 50, "whole")]

    return build(make)


BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(["whole", "pointwise", "depthwise"]),
        st.sampled_from(sorted(ACTIVATIONS)),
        st.sampled_from(["", "residual", "concat", "pool"]),
    ),
    min_size=1,
    max_size=4,
)
METHODS = ("mse+", "minmax+", "easyquant+")


def far_from(images):
    """Inputs that calibration has not seen the like of."""
    low, high = images.min(), images.max()
    noise = np.random.default_rng(3).uniform(low, high, (2, *images.shape[1:])).astype(np.float32)
    return np.concatenate(
        [10 * noise, np.zeros_like(noise[:1]), np.full_like(noise[:1], high), low + high - images[:1]]
    )


def outputs(mod, x):
    name = mod["main"].params[0].name
    return FloatReference(mod).outputs(Problem.of(mod, {name: x}, "int7", "unsigned").inputs)


def assert_same(mod, prepared, images, rtol=2e-5):
    for image in images[:, None]:  # one by one: exact products have units for all that they are given at once
        for one, other in zip(outputs(mod, image), outputs(prepared, image), strict=True):
            assert np.abs(one - other).max() <= rtol * max(np.abs(one).max(), 1e-3)


@settings(max_examples=12)
@given(blocks=BLOCKS, count=st.sampled_from([1, 2, 5]), small=st.booleans())
def test_small_networks(blocks, count, small):
    mod, images = network(blocks), random(count, *SHAPE, seed=count) * np.float32(0.1 if small else 1)
    prepared = pipeline.prepare(mod, {"x": images}, method="mse+")
    assert_same(mod, prepared, far_from(images))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", ["int7", "int8"])
def test_bounds_of_channels_cost_nothing(method, scheme):
    """The quantized range ends within them, so none is left in the annotated module: it computes in integers."""
    prepared, annotated = quantized(method=method, scheme=scheme)
    assert "relax.minimum" in operators(prepared) and "relax.minimum" not in operators(annotated)


def test_bounds_of_channels_before_a_float_layer():
    prepared, annotated = quantized(method="mse+", scheme="int8", kept={"layer3": "float", "total": "float"})
    assert operators(prepared).count("relax.minimum") == operators(annotated).count("relax.minimum") == 2


def quantized(kept=None, **how):
    """A network as it is prepared, and annotated; that must be close to it."""
    mod = network([("depthwise", "relu6", ""), ("whole", "low bound", "residual")])
    images = random(5, *SHAPE) * np.float32(0.3)
    prepared = pipeline.prepare(mod, {"x": images}, **how)
    annotated, _ = pipeline.quantize(prepared, {"x": images}, kept=kept, **how)
    (expected,) = outputs(mod, images)
    results = np.stack([run_annotated(annotated, {"x": image[None]})[0] for image in images])
    assert np.square(results - expected).mean() < 2e-3 * np.square(expected).mean()
    return prepared, annotated


def operators(mod):
    return [operator_name(binding.value) for binding in mod["main"].body.blocks[0].bindings]


def test_a_bound_within_a_wider_range_stays():
    """Two branches of one scale, one of which ends below: its bound is one of integers, and equal for all channels."""

    def make(emit, x):
        narrow = ACTIVATIONS["low bound"](emit, layer(emit, x, 1, "whole"))
        wide = ACTIVATIONS["relu"](emit, layer(emit, x, 2, "whole"))
        return [layer(emit, emit(relax.op.concat([narrow, wide], axis=1), "both"), 3, "whole")]

    mod, images = build(make), random(5, *SHAPE)
    prepared = pipeline.prepare(mod, {"x": images}, method="mse+")
    assert "relax.clip" in operators(prepared) and "relax.minimum" not in operators(prepared)
    assert_same(mod, prepared, far_from(images))


TRAINED = ("mobilenet_v1_075", "mobilenet_v2_cifar10", "resnet20_cifar10")
OTHERS = ("mobilenetv2_tiny_cifar10", "resnet56_cifar10", "squeezenet1_1", "ultraface_rfb_320", "vgg16_block3_cifar10")


def trained(name, shared_data, count, pixels):
    """A trained network, images to calibrate it on, and others that are far from them."""
    mod, (info,), _ = import_canonical(shared_data.models[name], {})
    form = InputForm(info, Preprocess.read(shared_data.path / "models" / f"{name}.preprocess.yaml"))
    height, width = info.shape[2:]
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2 * count, 7, 7, 3), np.uint8)
    smooth = coarse[:, np.arange(height) * 7 // height][:, :, np.arange(width) * 7 // width]
    noise = rng.integers(0, 256, smooth.shape, np.uint8)
    seen = {"noise": noise, "dim": smooth // 8 + 96}[pixels][:count]
    far = [smooth[0], 255 - smooth[0], noise[-1], np.zeros_like(noise[0]), np.full_like(noise[0], 255)]
    images, others = (np.stack([form(each, "")[0] for each in group]) for group in (seen, far))
    return mod, images, np.concatenate([others, 10 * others[2:3]])


def check_trained(name, shared_data, count, pixels):
    mod, images, far = trained(name, shared_data, count, pixels)
    prepared = pipeline.prepare(mod, {mod["main"].params[0].name: images}, method="mse+")
    assert_same(mod, prepared, far, rtol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_networks(name, shared_data):
    check_trained(name, shared_data, 1, "dim")


@pytest.mark.exhaustive
@pytest.mark.parametrize("pixels", ["noise", "dim"])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", [*TRAINED, *OTHERS])
def test_every_trained_network(name, count, pixels, shared_data):
    check_trained(name, shared_data, count, pixels)
