"""Proofs that accumulators fit, and the bias that takes an offset back."""

import numpy as np
import pytest
from cases import ACTIVATION_RANGES
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm.schedules.common.overflow import INT16_MAX, INT32_MAX, folded_bias
from eq_tvm.schedules.depthwise.depthwise import int16_chain

RANGES = st.one_of(  # what int8 or uint8 holds
    st.tuples(st.integers(-128, 0), st.integers(0, 127)), st.tuples(st.just(0), st.integers(128, 255))
)


@given(st.sampled_from(ACTIVATION_RANGES), st.integers(-128, 128), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=100)
def test_folded_bias_takes_the_offset_back(inputs, offset, seed, extreme):
    rng = np.random.default_rng(seed)
    w = rng.integers(-127, 128, (5, 3, 2, 2)).astype("int8")
    bias = rng.integers(-(2**30), 2**30, 5, dtype="int32")
    x = rng.choice(inputs, 12) if extreme else rng.integers(inputs[0], inputs[1] + 1, 12)
    folded = folded_bias(w, bias, inputs, offset)
    assert folded.dtype == np.int32
    flat = w.reshape(5, -1).astype("int64")
    np.testing.assert_array_equal(flat @ (x + offset) + folded, flat @ x + bias)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("inputs, offset", [((0, 127), 0), ((-63, 63), 63), ((0, 255), -128), ((-127, 127), 0)])
def test_accumulators_that_could_overflow_are_refused(inputs, offset, sign):
    """The bias may be as large as the worst input allows, and not by one larger, whatever the offset."""
    w = np.full((2, 10, 1, 1), -63, "int8")
    w[0] = 0
    low, high = inputs
    rest = INT32_MAX - 630 * (-low if sign > 0 else high)
    bias = np.array([0, sign * rest])
    assert folded_bias(w, bias, inputs, offset)[1] == np.int64(bias[1] + offset * 630).astype("int32")
    with pytest.raises(ValueError, match="output channel 1: its accumulator could reach 2147483648"):
        folded_bias(w, np.add(bias, [0, sign]), inputs, offset)


@given(RANGES, st.integers(0, 127), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=300)
def test_int16_chain_of_depthwise_layers(inputs, limit, seed, extreme):
    """Every run of so many products fits; all products of the filter do, or one more of the largest would not."""
    rng = np.random.default_rng(seed)
    w = rng.choice([-limit, limit], (3, 1, 3, 3)) if extreme else rng.integers(-limit, limit + 1, (3, 1, 3, 3))
    w = w.astype("int8")
    chain = int16_chain(w, inputs)
    ends = np.stack([w.reshape(3, 9).astype("int64") * end for end in inputs])
    for start in range(0, 9, max(chain, 1)):
        assert ends.max(0)[:, start : start + chain].sum(1).max() <= INT16_MAX
        assert ends.min(0)[:, start : start + chain].sum(1).min() >= -INT16_MAX
    largest = max(-inputs[0], inputs[1]) * int(np.abs(w.astype("int32")).max())
    assert chain == 9 or (chain + 1) * max(largest, 1) > INT16_MAX
