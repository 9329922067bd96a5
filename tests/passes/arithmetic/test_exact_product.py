"""Products that are the same bits in any order of summation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.passes.arithmetic.exact_product import exact_product, sums_of_integers


@given(summands=st.integers(1, 3000), spread=st.integers(0, 30), seed=st.integers(0, 99))
def test_is_exact_in_any_order(summands, spread, seed):
    rng = np.random.default_rng(seed)
    units = 10.0 ** rng.uniform(-spread, spread, summands)  # of what is multiplied
    a, b = rng.standard_normal((2, 3, summands)) / units, rng.standard_normal((2, summands, 4)) * units[:, None]
    order = rng.permutation(summands)
    found = exact_product(a, b)
    np.testing.assert_array_equal(exact_product(a[..., order], b[:, order]), found)
    np.testing.assert_array_equal(np.concatenate([exact_product(a[:, :1], b), exact_product(a[:, 1:], b)], 1), found)
    largest = (np.abs(a)[..., None] * np.abs(b)[:, None]).max(axis=2)
    assert (np.abs(found - a @ b) <= 2.0**-18 * largest * np.sqrt(summands) + 1e-300).all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_stays_so(value):
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(exact_product(np.ones((2, 3)), np.full((3, 2), value))).any()


def test_zeros_and_extremes():
    assert not exact_product(np.zeros((2, 3)), np.ones((3, 2))).any()
    for size in (1e-45, 1e-30, 1e30):
        x = np.full((2, 2), size, np.float32)
        np.testing.assert_allclose(exact_product(x, x), 2 * np.float64(x[0, 0]) ** 2, rtol=1e-6)


@pytest.mark.parametrize(("largest", "dtype"), [(127, np.float32), (4095, np.float64)])
def test_sums_of_integers(largest, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-largest, largest, (5, 900)), rng.integers(-127, 127, (900, 4))
    greatest = np.abs(a).sum(axis=1).max() * 127
    found = sums_of_integers(a, b, greatest)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, a @ b)
