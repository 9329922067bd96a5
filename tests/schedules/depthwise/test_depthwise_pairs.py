"""Depthwise convolution of int16 by pairs of products: equal to the integer program."""

from __future__ import annotations

import numpy as np
import pytest
from cases import SEEDS, WIDE_RANGES, Activations, epilogues, few, weights
from families import parameters
from hypothesis import given
from hypothesis import strategies as st
from layers import accumulators, check
from test_depthwise import convolutions

from eq_tvm.schedules.common.overflow import folded_bias
from eq_tvm.schedules.depthwise.depthwise_pairs import depthwise_pairs, multiplying, pack_pairs
from eq_tvm.schedules.processor.instructions import choose_int16

SPANS, VALUES = st.sampled_from(WIDE_RANGES), st.sampled_from(["random", "low", "high", "both"])
FAMILIES = ["pmaddubsw", "vpdpbusd-512", "vpdpbusd-256", "pmaddubsw-512"]
CASES = st.tuples(
    convolutions(st.sampled_from([8, 16, 24, 32, 48, 144])),
    st.builds(lambda span, values: Activations(*span, "int16", values), SPANS, VALUES),
    st.booleans(),
    epilogues(),
    SEEDS,
)


@pytest.mark.parametrize("family", parameters(FAMILIES), indirect=True)
@given(st.lists(CASES, min_size=1, max_size=8))
@few(4)
def test_equals_the_integer_program(family, folder, drawn):
    jobs = []
    for conv, inputs, extreme, epilogue, seed in drawn:
        rng = np.random.default_rng(seed)
        x = inputs.array(rng, (conv.batch, conv.height, conv.width, conv.in_channels))
        w = weights(rng, (conv.out_channels, 1, *conv.kernel), 127, extreme)
        bias = rng.integers(-20_000, 20_000, conv.out_channels, dtype="int32")
        acc = accumulators(conv, x, w, bias)
        m = epilogue.multipliers(rng, acc, (conv.out_channels,))
        raw = epilogue.residual and epilogue.residual.array(rng, acc.shape)
        multiply = multiplying(choose_int16(family.features), conv.out_channels)
        func = depthwise_pairs(conv, multiply, epilogue.output)
        bias = folded_bias(w, bias, (inputs.low, inputs.high), 0)
        arguments = [x, pack_pairs(w), bias, epilogue.stored_multipliers(m), epilogue.limits()]
        jobs.append((func, [*arguments, *([] if raw is None else [raw])], epilogue.expected(acc, m, raw)))
    check(family, folder, drawn, jobs)
