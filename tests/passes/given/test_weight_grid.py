"""Integers and scales, found again in real weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.passes.given.weight_grid import on_grid


def weights(seed, channels=5, count=12, low=-127):
    rng = np.random.default_rng(seed)
    integers = rng.integers(low, 128, (channels, count)).astype(np.int8)
    scales = rng.uniform(1e-4, 1e-1, channels).astype(np.float32)
    return integers, scales, integers * scales[:, None]


@given(st.integers(0, 999), st.sampled_from([-128, -127, -8, 0]))
def test_given_scales_are_found_exactly(seed, low):
    integers, scales, real = weights(seed, low=low)
    found = on_grid(real, scales)
    np.testing.assert_array_equal(found[0], integers, strict=True)
    np.testing.assert_array_equal(found[1], scales, strict=True)


@given(st.integers(0, 999), st.floats(1e-3, 1e3))
def test_without_scales_the_products_are_the_same(seed, factor):
    """Behind a batch norm, whose factor was rounded to float32; whatever the integers have in common."""
    integers, scales, real = weights(seed)
    integers[0], integers[1], integers[2, 1:] = 0, 12 * (integers[1] // 12), 0
    real = ((integers * scales[:, None]).astype(np.float64) * factor).astype(np.float32)
    found, finest = on_grid(real, scales)
    np.testing.assert_allclose(found * finest[:, None], real, rtol=1e-5, atol=0)
    assert found.dtype == np.int8 and finest.dtype == np.float32 and (finest > 0).all()


def test_one_scale_for_all():
    integers, _, _ = weights(1)
    scale = np.float32([0.03])
    found = on_grid(integers * scale, scale)
    np.testing.assert_array_equal(found[0], integers)
    np.testing.assert_array_equal(found[1], np.full(5, 0.03, np.float32))


@pytest.mark.parametrize("given_scales", [None, np.float32([0.05])])
def test_real_weights_have_none(given_scales):
    real = np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)
    assert on_grid(real, given_scales) is None


def test_nor_have_integers_of_nine_bits():
    integers = np.arange(-137, 119).reshape(1, -1)
    assert on_grid(integers * np.float32(0.01), np.float32([0.01])) is None
