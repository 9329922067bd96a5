"""Networks with quantize/dequantize pairs of their own, to integers."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import run_annotated
from small_networks import bindings, build, random
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes.graph.rewrite import Graph, operator_name
from eq_tvm.targets import get_target

SHAPE = (1, 3, 9, 9)


def quantized(emit, x, name, scale, zero=0, dtype="int8"):
    """A pair behind `x`."""
    constants = relax.const(np.float32(scale)), relax.const(np.array(zero, dtype))
    q = emit(relax.op.quantize(x, *constants, axis=-1, out_dtype=dtype), f"{name}_q")
    return emit(relax.op.dequantize(q, *constants, axis=-1, out_dtype="float32"), f"{name}_dq")


def integers(*shape, seed=0, low=-127):
    return np.random.default_rng(seed).integers(low, 128, shape)


def conv(emit, x, name, out=4, scales=(0.01, 0.02, 0.003, 0.05), low=-127, bias=True, groups=1):
    """A convolution of integer weights, in real numbers."""
    channels = int(x.ty.shape[1]) // groups
    weight = integers(out, channels, 3, 3, seed=len(name), low=low) * np.float32(scales).reshape(-1, 1, 1, 1)
    y = emit(relax.op.nn.conv2d(x, relax.const(weight.astype("float32")), padding=1, groups=groups), name)
    return emit(relax.op.add(y, relax.const(random(1, out, 1, 1))), f"{name}_sum") if bias else y


def network(zero, dtype, low=-127):
    def make(emit, x):
        x = quantized(emit, x, "x", 0.03, zero, dtype)
        a = quantized(emit, emit(relax.op.nn.relu(conv(emit, x, "a", low=low)), "r"), "a", 0.02, -128, "int8")
        b = quantized(emit, conv(emit, a, "bb", groups=4, low=low), "b", 0.5, zero, dtype)
        both = quantized(emit, emit(relax.op.add(a, b), "both"), "both", 0.55, zero, dtype)
        flat = emit(relax.op.reshape(emit(relax.op.mean(both, [2, 3], True), "mean"), (1, 4)), "flat")
        flat = quantized(emit, flat, "flat", 0.1, zero, dtype)
        weight = relax.const((integers(4, 5, seed=3) * np.float32(0.01)).astype("float32"))
        y = emit(relax.op.add(emit(relax.op.matmul(flat, weight), "fc"), relax.const(random(5))), "y")
        return [quantized(emit, y, "last", 0.05, zero, dtype)]

    return build(make, SHAPE)


def taken(mod, **options):
    mod, record = pipeline.take_scales(mod, **options)
    return mod, record


@settings(max_examples=12)
@given(
    st.sampled_from(
        [("int8", 0), ("int8", 34), ("int8", -128), ("uint8", 0), ("uint8", 119), ("uint8", 128), ("uint8", 255)]
    ),
    st.sampled_from([-128, -127]),
    st.sampled_from(["native", "x86"]),
)
def test_compiled_as_the_interpreter_has_it(kind, low, target):
    dtype, zero = kind
    annotated, found = taken(network(zero, dtype, low))
    assert [layer.layer for layer in found.record] == ["a", "bb", "fc"] and not found.left
    x = random(*SHAPE, seed=5)
    (expected,) = run_annotated(annotated, {"x": x})
    assert len(np.unique(expected)) > 1
    built, kernels = pipeline.build(annotated, get_target(target))
    result = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    np.testing.assert_array_equal(result, expected)
    assert not [kernel["kernel"] for kernel in kernels if "fma" in kernel["kernel"]]


@pytest.mark.parametrize("target", ["rpi3", "rpi4", "rpi5"])
def test_on_boards(target, tmp_path, aarch64):
    from test_networks import EMULATED, export, machine

    del aarch64
    for i, (dtype, zero) in enumerate([("int8", 34), ("uint8", 119)]):
        annotated, _ = taken(network(zero, dtype, -128))
        x = random(*SHAPE, seed=6)
        (expected,) = run_annotated(annotated, {"x": x})
        library = export(pipeline.build(annotated, get_target(target))[0], tmp_path / f"{i}.so")
        (result,) = machine(EMULATED[target]).run_vm(library, [x])
        np.testing.assert_array_equal(result, expected)


def test_noted_scales_are_taken():
    """Weights that are multiples of 2, which the next coarser scale has as well."""
    weight = (2 * integers(2, 3, 3, 3, low=-60) // 4).astype("float32") * np.float32(0.25)

    def make(emit, x):
        x = quantized(emit, x, "x", 0.03)
        return [quantized(emit, emit(relax.op.nn.conv2d(x, relax.const(weight), padding=1), "a"), "y", 1.0)]

    for noted in ([0.25], [0.25, 0.125]):
        mod = build(make, SHAPE)
        mod["main"] = mod["main"].with_attr("weight_scales", {"a": relax.const(np.float32(noted))})
        annotated, found = taken(mod)
        assert found.record[0].weight_scales == [0.25, noted[-1]] and found.record[0].given
        assert "weight_scales" not in (annotated["main"].attrs or {})


def test_a_channel_that_is_nearly_nothing():
    """Beside its bias, so that this has more than 32 bits in the channel's scale."""

    def make(emit, x):
        x = quantized(emit, x, "x", 0.03, -128)
        return [quantized(emit, conv(emit, x, "a", scales=(0.01, 1e-9, 0.003, 1e-10)), "y", 0.02)]

    annotated, _ = taken(build(make, SHAPE))
    x = random(*SHAPE, seed=5)
    (expected,) = run_annotated(annotated, {"x": x})
    float_result = run_annotated(build(make, SHAPE), {"x": x})[0]
    assert np.abs(expected - float_result).max() <= 0.021
    built, _ = pipeline.build(annotated, get_target("native"))
    result = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    np.testing.assert_array_equal(result, expected)


def nine_bits(emit, x):
    weight = (np.arange(-137, 119)[: 3 * 81].reshape(9, 3, 3, 3) * np.float32(0.01)).astype("float32")
    x = quantized(emit, x, "x", 0.03)
    return [quantized(emit, emit(relax.op.nn.conv2d(x, relax.const(weight), padding=1), "a"), "y", 0.3)]


def test_weights_with_a_zero_point():
    mod = build(nine_bits, SHAPE)
    mod["main"] = mod["main"].with_attr("weight_scales", {"a": relax.const(np.float32([0.01]))})
    with pytest.raises(ValueError, match=r"layer a: its weights are no integers of 8 bits.*--requantize"):
        taken(mod)
    annotated, found = taken(mod, requantize=True)
    assert not found.record[0].given
    x = random(*SHAPE, seed=2)
    (result,), (real,) = (run_annotated(each, {"x": x}) for each in (annotated, build(nine_bits, SHAPE)))
    assert np.abs(result - real).max() <= 0.61 and np.abs(real).max() > 3


def test_channels_that_fit_keep_their_scales():
    weight = np.random.default_rng(0).integers(-100, 101, (6, 3, 3, 3))
    weight[2, 0, 0, 0], weight[4, 1, 1, 1] = 151, -140

    def make(emit, x):
        x = quantized(emit, x, "x", 0.03)
        layer = relax.op.nn.conv2d(x, relax.const(weight.astype(np.float32) * np.float32(0.01)), padding=1)
        return [quantized(emit, emit(layer, "a"), "y", 0.3)]

    mod = build(make, SHAPE)
    mod["main"] = mod["main"].with_attr("weight_scales", {"a": relax.const(np.float32([0.01]))})
    (found,) = taken(mod, requantize=True)[1].record
    scale = np.float32(0.01)
    np.testing.assert_allclose(found.weight_scales, scale * np.array([1, 1, 151 / 127, 1, 140 / 127, 1]), rtol=1e-6)


def test_layers_that_nobody_quantized_stay_float():
    def make(emit, x):
        real = emit(relax.op.nn.conv2d(x, relax.const(random(4, 3, 3, 3)), padding=1), "real")
        x = quantized(emit, real, "x", 0.03)
        y = emit(relax.op.nn.conv2d(x, relax.const(random(4, 4, 3, 3, seed=1)), padding=1), "too")
        return [emit(relax.op.nn.conv2d(y, relax.const(random(4, 4, 3, 3, seed=2) * 0), padding=1), "last")]

    mod = build(make, SHAPE)
    annotated, found = taken(mod)
    assert not found.record and [layer for layer, _ in found.left] == ["real", "too", "last"]
    assert bindings(annotated).keys() == bindings(mod).keys()


@pytest.mark.parametrize(("dtype", "zero", "low", "stored"), [("uint8", 128, 1, "int8"), ("uint8", 127, 0, "uint8")])
def test_what_fits_is_stored_signed(dtype, zero, low, stored):
    def make(emit, x):
        constants = relax.const(np.float32(0.02)), relax.const(np.array(zero, dtype))
        q = emit(relax.op.quantize(x, *constants, axis=-1, out_dtype=dtype), "q")
        q = emit(relax.op.clip(q, low, 255), "c")
        return [emit(relax.op.dequantize(q, *constants, axis=-1, out_dtype="float32"), "y")]

    mod, x = build(make, SHAPE), 2 * random(*SHAPE)
    annotated, _ = taken(mod)
    (kind,) = [str(v.attrs.out_dtype) for v in Graph(annotated).values.values() if operator_name(v) == "relax.quantize"]
    assert kind == stored
    (before,), (after,) = (run_annotated(each, {"x": x}) for each in (mod, annotated))
    np.testing.assert_array_equal(after, before)


def test_dequantize_is_lifted():
    def make(emit, x):
        constants = relax.const(np.float32(0.03)), relax.const(np.int8(0))
        q = emit(relax.op.quantize(x, *constants, axis=-1, out_dtype="int8"), "q")
        pooled = emit(relax.op.nn.max_pool2d(q, (3, 3), (3, 3)), "pool")
        both = emit(relax.op.concat([pooled, pooled], axis=1), "both")
        flat = emit(relax.op.reshape(both, (1, 54)), "flat")
        return [emit(relax.op.dequantize(flat, *constants, axis=-1, out_dtype="float32"), "y")]

    mod = build(make, SHAPE)
    lifted, _ = taken(mod)
    names = [name for value in Graph(lifted).values.values() if (name := operator_name(value))]
    expected = ["quantize", "dequantize", "nn.max_pool2d", "concat", "reshape"]
    assert names == [f"relax.{name}" for name in expected]
    x = random(*SHAPE)
    built, _ = pipeline.build(lifted, get_target("native"))
    result = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    pooled = np.clip(np.rint(x / np.float32(0.03)), -128, 127).reshape(1, 3, 3, 3, 3, 3).max((3, 5)) * np.float32(0.03)
    np.testing.assert_array_equal(result, np.concatenate([pooled, pooled], 1).reshape(1, 54))
