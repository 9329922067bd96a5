"""Activations with a scale for each channel, in front of a depthwise layer."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import run_annotated
from small_networks import build, random
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes import UnifyScales
from eq_tvm.passes.graph.rewrite import Graph, array, operator_name
from eq_tvm.targets import get_target

SHAPE = (1, 3, 9, 9)
C = 4
STEP = 0.05


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-127, 128, shape)


def pair(emit, x, scale, zero=0, dtype="uint8", axis=1):
    scale = np.float32(scale)
    constants = relax.const(scale), relax.const(np.full(scale.shape, zero, dtype))
    q = emit(relax.op.quantize(x, *constants, axis=axis, out_dtype=dtype), "q")
    return emit(relax.op.dequantize(q, *constants, axis=axis, out_dtype="float32"), "dq")


def network(scales, zero=0, dtype="uint8", clip=(0.0, 6.0), multiplier=1, groups=C):
    def make(emit, x):
        x = pair(emit, x, 0.03, 0, "int8")
        weight = (integers(C, 3, 3, 3) * np.float32(0.01)).astype("float32")
        y = emit(relax.op.nn.conv2d(x, relax.const(weight), padding=1), "a")
        y = emit(relax.op.add(y, relax.const(random(1, C, 1, 1))), "a_sum")
        y = emit(relax.op.nn.relu(y) if clip is None else relax.op.clip(y, *clip), "clipped")
        y = pair(emit, y, scales, zero, dtype)
        weight = integers(C * multiplier, C // groups, 3, 3, seed=1) * np.float32(0.003)
        y = emit(relax.op.nn.conv2d(y, relax.const(weight.astype("float32")), padding=1, groups=groups), "b")
        return [pair(emit, y, STEP, 0, "int8")]

    return build(make, SHAPE)


def run(mod, x):
    built = tvm.compile(mod, tvm.target.Target("llvm"))
    return relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()


SCALES = st.lists(st.floats(2**-12, 3 * 2**-7, width=32), min_size=C, max_size=C)


@settings(max_examples=8)
@given(SCALES, st.sampled_from([("uint8", 0), ("int8", -128), ("uint8", 5)]), st.sampled_from([1, 2]))
def test_equals_what_came(scales, kind, multiplier):
    dtype, zero = kind
    mod = network(scales, zero, dtype, clip=(0.0, 6.0) if zero in (0, -128) else None, multiplier=multiplier)
    annotated, found = pipeline.take_scales(mod)
    assert [layer.layer for layer in found.record] == ["a", "b"] and not found.left
    x = random(*SHAPE, seed=5) * 3
    expected = run(mod, x)
    (result,) = run_annotated(annotated, {"x": x})
    assert len(np.unique(expected)) > 1
    steps = np.abs(result - expected) / STEP
    assert steps.max() < 1.01 and (steps > 0.5).mean() < 0.01  # where float32 rounds to the other side of a tie
    built, _ = pipeline.build(annotated, get_target("native"))
    compiled = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    np.testing.assert_array_equal(compiled, result)


def test_noted_scales_follow():
    """Else integers with a common factor would be found in a coarser scale."""
    scales = np.float32([0.01, 0.02, 0.005, 0.02])
    mod = network(scales)
    noted = {"a": relax.const(np.float32([0.01])), "b": relax.const(np.float32([0.003] * C))}
    mod["main"] = mod["main"].with_attr("weight_scales", noted)
    _, found = pipeline.take_scales(mod)
    factors = scales.max() / scales
    np.testing.assert_allclose(found.record[0].weight_scales, 0.01 * factors, rtol=1e-6)
    np.testing.assert_allclose(found.record[1].weight_scales, 0.003 / factors, rtol=1e-6)
    assert found.record[1].input_scale == np.float32(0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"clip": (0.0, 0.5)},  # cuts some channels off inside
        {"clip": (0.1, 6.0)},
        {"groups": 1},  # reads all channels
    ],
)
def test_others_stay_as_they_are(options):
    mod = network([0.01, 0.02, 0.005, 0.02], **options)
    _, found = pipeline.take_scales(mod)
    assert found.left == [("b", "conv2d")]
    kept = [v for v in Graph(UnifyScales()(mod)).values.values() if operator_name(v) == "relax.quantize"]
    assert any(array(call.args[1]).size == C for call in kept)


def test_zero_points_that_differ():
    def make(emit, x):
        y = emit(relax.op.nn.conv2d(x, relax.const(random(C, 3, 1, 1))), "a")
        constants = relax.const(np.float32([0.01, 0.02, 0.03, 0.04])), relax.const(np.uint8([0, 1, 2, 3]))
        q = emit(relax.op.quantize(y, *constants, axis=1, out_dtype="uint8"), "q")
        y = emit(relax.op.dequantize(q, *constants, axis=1, out_dtype="float32"), "dq")
        return [emit(relax.op.nn.conv2d(y, relax.const(random(C, 1, 3, 3)), groups=C), "b")]

    mod = build(make, SHAPE)
    tvm.ir.assert_structural_equal(UnifyScales()(mod), mod)
