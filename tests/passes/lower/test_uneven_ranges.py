"""Tensors whose integers are not even around 0, such as what SiLU gives: everything that makes and reads them."""

import functools

import aarch64 as emulation
import numpy as np
import pytest
import tvm
from covering import covering
from interpreter import run_annotated
from small_networks import build, conv, pairs, random
from tvm import relax

from eq_tvm import host, pipeline
from eq_tvm.targets import get_target

SHAPE = (1, 3, 13, 12)
SCHEMES = ["int7", "w8a12", "int8"]
BOARDS = {"rpi3": "aarch64", "rpi4": "aarch64", "rpi5": "aarch64_dotprod", "graviton3": "aarch64_i8mm"}


def network(emit, x):
    """Layers of every kernel, an addition, a concatenation, products, averages, resizing, padding and slices."""

    def act(y, name, function="silu"):
        return emit(getattr(relax.op.nn, function)(y), name)

    def depthwise(y, name, size):
        weight = relax.const(random(int(y.ty.shape[1]), 1, size, size, seed=size))
        layer = emit(relax.op.nn.conv2d(y, weight, padding=size // 2, groups=int(y.ty.shape[1])), name)
        return emit(relax.op.add(layer, relax.const(random(1, 16, 1, 1))), f"{name}_sum")

    a = act(conv(emit, x, "a", out=16), "fa")
    small = act(depthwise(a, "small", 3), "fs")
    large = act(depthwise(a, "large", 9), "fl", "gelu")
    total = emit(relax.op.add(a, small), "total")
    joined = emit(relax.op.concat([total, large, a], 1), "joined")
    b = emit(relax.op.add(conv(emit, joined, "bb", out=16), small), "residual")
    gate = emit(relax.op.sigmoid(conv(emit, emit(relax.op.mean(large, [2, 3], True), "mean"), "g", out=16)), "gate")
    scaled = emit(relax.op.multiply(large, gate), "scaled")
    bounded = emit(relax.op.clip(emit(relax.op.nn.max_pool2d(scaled, (2, 2), (2, 2)), "pool"), -1, 2), "bounded")
    resized = emit(
        relax.op.image.resize2d(bounded, relax.ShapeExpr((12, 12)), method="linear", layout="NCHW"), "resized"
    )
    padded = emit(relax.op.nn.pad(resized, [0, 0, 0, 0, 1, 0, 0, 0]), "padded")
    average = emit(relax.op.nn.avg_pool2d(total, (3, 3), (1, 1), (1, 1, 1, 1), count_include_pad=False), "average")
    slopes = relax.const(np.abs(random(16)))
    rectified = emit(relax.op.nn.prelu(total, slopes, axis=1), "rectified")
    parts = [conv(emit, y, f"last{i}") for i, y in enumerate((b, scaled, padded, average, rectified))]
    return [*parts, scaled, emit(relax.op.strided_slice(total, [1], [2], [9]), "slice")]


@functools.cache
def calibrated(scheme, method="minmax"):
    annotated, _ = pipeline.calibrate(build(network, SHAPE), {"x": random(6, *SHAPE[1:])}, scheme=scheme, method=method)
    x = random(*SHAPE, seed=9)
    return annotated, x, run_annotated(annotated, {"x": x})


def another(seed):
    """A choice of kernels at random."""
    draw = np.random.default_rng(seed)
    return lambda _key, candidates: candidates[draw.integers(len(candidates))]


def test_ranges():
    found = pairs(calibrated("int8")[0])
    assert {found[name][:3] for name in ("fa", "scaled")} == {("uint8", 0, 255)}
    found = pairs(calibrated("int7")[0])
    dtype, low, high, _ = found["scaled"]
    assert dtype == "int8" and -64 <= low < 0 and high - low == 127


@pytest.mark.parametrize("scheme, target", covering(SCHEMES, ["native", "x86"]))
def test_equals_the_interpreter(scheme, target):
    annotated, x, expected = calibrated(scheme)
    for seed in range(2):
        built, _ = pipeline.build(annotated, get_target(target), choose=another(seed))
        results = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x))
        for result, wanted in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result.numpy(), wanted)


@pytest.mark.parametrize("target, scheme", covering([*BOARDS], SCHEMES))
def test_on_a_board(request, tmp_path, target, scheme):
    board = request.getfixturevalue(BOARDS[target])
    annotated, x, expected = calibrated(scheme)
    built, _ = pipeline.build(annotated, get_target(target), choose=another(0))
    results = board.run_vm(emulation.export(built, tmp_path / "network.so"), [x])
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


def above_zero(emit, x):
    """Layers that read nothing near 0 but as padding, and where their channels fill up vectors."""
    high, low = (
        emit(relax.op.clip(conv(emit, x, name, out=12), *ends), f"{name}_clipped")
        for name, ends in (("high", (2, 6)), ("low", (-6, -2)))
    )
    depthwise = emit(relax.op.nn.conv2d(high, relax.const(random(12, 1, 3, 3)), padding=1, groups=12), "depthwise")
    dense = emit(relax.op.nn.conv2d(high, relax.const(random(40, 12, 1, 1))), "c")
    return [conv(emit, high, "a", out=40), conv(emit, low, "bb", out=40), dense, depthwise]


@pytest.mark.parametrize("target", ["x86", "x86-vnni", "x86-zen4"])
def test_kernels_read_zeros_that_no_activation_is(target):
    x, spec = random(*SHAPE, seed=9), get_target(target)
    annotated, _ = pipeline.calibrate(build(above_zero, SHAPE), {"x": random(6, *SHAPE[1:])}, scheme="int7")
    expected = run_annotated(annotated, {"x": x})
    assert pairs(annotated)["high_clipped"][1:3] == (0, 127)
    for seed in range(2):
        built, record = pipeline.build(annotated, spec, choose=another(seed))
        reached = [
            far
            for kernel in record
            for each in kernel["considered"]
            for of, far, _bound in each["proofs"]
            if kernel["layer"] in ("a", "c") and of == "sums of activations and weights in 8 bits"
        ]
        assert bool(reached) == (target == "x86-zen4")
        assert all(each > 127 - 2 / 6 * 127 + 126 for each in reached)  # more than from the least activation on
        if not host.missing_features(spec.instructions):
            results = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x))
            for result, wanted in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result.numpy(), wanted)


def test_zero_points_of_others():
    """A layer's result between `quantize` and `dequantize` with a zero point, as other quantizers write them."""
    zero = relax.const(np.uint8(100))

    def make(emit, x):
        scale = relax.const(np.float32(0.05))
        a = conv(emit, x, "a", out=8)
        q = emit(relax.op.quantize(a, scale, zero, axis=-1, out_dtype="uint8"), "q")
        return [
            conv(emit, emit(relax.op.dequantize(q, scale, zero, axis=-1), "d"), "bb"),
            emit(relax.op.astype(q, "int32"), "seen"),
        ]

    module, x = build(make), random(1, 3, 8, 8)
    expected = run_annotated(module, {"x": x})
    for target in ("native", "x86"):
        results = relax.VirtualMachine(pipeline.build(module, get_target(target))[0], tvm.cpu())["main"](
            tvm.runtime.tensor(x)
        )
        np.testing.assert_allclose(results[0].numpy(), expected[0], rtol=1e-4, atol=1e-4 * np.abs(expected[0]).max())
        assert np.abs(results[1].numpy() - expected[1]).max() <= 1  # floats before, which round in another order


def test_the_default_method():
    annotated, x, expected = calibrated("int8", "mse+")
    built, _ = pipeline.build(annotated, get_target("native"))
    results = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x))
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.numpy(), wanted)
