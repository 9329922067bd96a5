"""Accumulators in PyTorch, rounded as the integer program rounds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.exact import requantized  # noqa: E402

scales = st.floats(2.0**-13, 8.0, width=32).map(np.float32)


@given(accumulators=st.lists(st.integers(-(2**18), 2**18), min_size=1), step=scales, scale=scales, seed=st.integers(0))
def test_the_rule_of_the_integer_program(accumulators, step, scale, seed):
    """Whatever errors of float32 the accumulators have as real numbers."""
    whole = np.array(accumulators, np.float32)
    error = np.random.default_rng(seed).uniform(-1e-6, 1e-6, len(whole)).astype(np.float32)
    value = torch.from_numpy(whole * step * (1 + error))
    found = requantized(value, torch.tensor(step), torch.tensor(scale), None)
    multiplier = np.float32(np.float64(step) / np.float64(scale))
    np.testing.assert_array_equal(found.numpy(), whole * multiplier)


def test_what_is_bounded_is_rounded_as_the_bound():
    step, scale, high = torch.tensor(0.4), torch.tensor(1.0), torch.tensor(2.5)
    found = requantized(torch.minimum(torch.tensor([0.8, 2.4, 2.8]), high), step, scale, high)
    torch.testing.assert_close(found, torch.tensor([0.8, 2.4, 2.5]))
