"""Clips of real numbers that are ranges of integers."""

import numpy as np
import pytest
import tvm
from small_networks import build
from tvm import relax

from eq_tvm.passes import NarrowRanges
from eq_tvm.passes.graph.pairs import pair_of
from eq_tvm.passes.graph.rewrite import Graph

SCALE = np.float32(0.013)


def narrowed(low, high, dtype="int16", zero=0):
    def network(emit, x):
        clipped = emit(relax.op.clip(x, float(low), float(high)), "clipped")
        operands = relax.const(SCALE), relax.const(np.array(zero, dtype))
        integers = emit(relax.op.quantize(clipped, *operands, axis=-1, out_dtype=dtype), "integers")
        dequantized = emit(relax.op.dequantize(integers, *operands, axis=-1, out_dtype="float32"), "d")
        return [emit(relax.op.nn.relu(dequantized), "y")]

    mod = build(network, (1, 4))
    return mod, NarrowRanges()(mod)


@pytest.mark.parametrize(("low", "high"), [(-2047, 2047), (0, 4095), (-256, 3839)])
def test_a_clip_on_the_grid(low, high):
    _, mod = narrowed(low * SCALE, high * SCALE)
    graph = Graph(mod)
    (pair,) = filter(None, (pair_of(graph, value) for value in graph.values.values()))
    assert (pair.dtype, pair.low, pair.high, pair.data.name) == ("int16", low, high, "x")


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(-10.5 * SCALE, 20 * SCALE, "int16"), (-10 * SCALE, 20 * SCALE, "int8")]
)
def test_other_clips_stay(low, high, dtype):
    before, after = narrowed(low, high, dtype)
    tvm.ir.assert_structural_equal(before, after)
