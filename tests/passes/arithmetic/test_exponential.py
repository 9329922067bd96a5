"""exp and tanh without the processor's."""

import warnings

import numpy as np
import pytest

from eq_tvm.passes.arithmetic.exponential import exp, tanh


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_are_near_those_of_numpy(dtype):
    end, unit = (87, np.finfo(dtype).eps) if dtype == np.float32 else (700, np.finfo(dtype).eps)
    x = np.linspace(-end, end, 100001).astype(dtype)
    expected = np.exp(x.astype(np.longdouble))
    assert (np.abs(exp(x) - expected) <= 2 * unit * expected).all()
    assert (np.abs(tanh(x / 50) - np.tanh((x / 50).astype(np.longdouble))) <= 2 * unit).all()
    small = np.logspace(-20, -2, 50).astype(dtype)
    np.testing.assert_allclose(tanh(small), np.tanh(small), rtol=2e-7, atol=2 * unit if dtype == np.float64 else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = exp(np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30], dtype))
    np.testing.assert_array_equal(found, np.array([1, 1, np.inf, 0, np.nan, np.inf, 0], dtype))
    np.testing.assert_array_equal(tanh(np.array([0, np.inf, -np.inf, np.nan], dtype)), np.array([0, 1, -1, np.nan]))
    assert found.dtype == dtype and exp(dtype(1)).dtype == dtype
