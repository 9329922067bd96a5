"""Activations in steps of a scale, and what passes back through that, against numpy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eq_tvm.passes.quantized.gradients.straight_through import quantized


@given(st.sampled_from([(3, 5), (2, 4, 6, 6), (1,), (16,)]), st.sampled_from([(0, 127), (-31, 31)]), st.booleans())
@settings(max_examples=8, deadline=None)
def test_quantized(shape, limits, dropping):
    rng, (low, high), scale = np.random.default_rng(0), limits, np.float32(0.3)
    x = (rng.normal(0, high, shape) * scale).astype(np.float32)
    x.flat[0] = np.float32(2.5) * scale  # a tie goes to the even number
    left = rng.random(shape) < 0.5 if dropping else np.zeros(shape, bool)
    result, of_scale, passed = quantized(x, scale, low, high, left if dropping else None)
    steps = x / scale
    integers = np.clip(np.rint(steps), low, high)
    inside = (low <= steps) & (steps <= high)
    np.testing.assert_array_equal(result, np.where(left, x, integers * scale))
    np.testing.assert_array_equal(passed, inside | left)
    np.testing.assert_array_equal(of_scale, np.where(left, 0, np.where(inside, integers - steps, integers)))


def test_quantized_views():
    """Arrays that are not contiguous."""
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    result, _, passed = quantized(x.T, np.float32(2), 0, 7)
    np.testing.assert_array_equal(result, np.clip(np.rint(x.T / 2), 0, 7) * 2)
    assert passed.shape == x.T.shape
