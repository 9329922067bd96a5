"""Chains of reshapes and transposes, beside numpy's."""

import hypothesis
import numpy as np
from hypothesis import strategies as st
from tvm import relax

from eq_tvm.passes.lower.lowered_values import NHWC_OF_NCHW, Tensor
from eq_tvm.passes.lower.rearranged import Rearranged


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=4, max_size=4), st.booleans(), st.data())
def test_as_numpy_does(shape, nhwc, data):
    values = np.arange(np.prod(shape)).reshape(shape)
    view = Rearranged.of(Tensor(relax.Var("x", relax.TensorType(shape, "int8")), nhwc))
    logical = values.transpose(0, 3, 1, 2) if nhwc else values
    for _ in range(data.draw(st.integers(0, 4))):
        if data.draw(st.booleans()):
            axes = data.draw(st.permutations(range(logical.ndim)))
            view, logical = view.permuted(axes), logical.transpose(axes)
        else:
            cut = data.draw(st.lists(st.sampled_from([1, 2, 3]), max_size=3))
            rest = logical.size // np.gcd(logical.size, int(np.prod(cut)))
            target = [*cut, rest]
            if np.prod(target) != logical.size:
                continue
            found = view.reshaped(target)
            if found is None:
                continue
            view, logical = found, logical.reshape(target)
    assert view.shape == logical.shape
    for stored_nhwc in [False] + [True] * (logical.ndim == 4):
        runs = view.runs(stored_nhwc)
        stored = sorted(runs)
        moved = values.reshape([int(np.prod([view.factors[i] for i in run])) for run in stored])
        moved = moved.transpose([stored.index(run) for run in runs])
        expected = logical.transpose(NHWC_OF_NCHW) if stored_nhwc else logical
        np.testing.assert_array_equal(moved.reshape(expected.shape), expected)


def test_what_stays_in_order_is_not_moved():
    """Tokens of an image are its pixels, as they are stored."""
    image = Rearranged.of(Tensor(relax.Var("x", relax.TensorType((1, 6, 5, 8), "int8")), True))
    tokens = image.reshaped((1, 8, 30))
    assert tokens is not None and len(tokens.permuted([0, 2, 1]).runs(False)) == 1


def test_a_factor_that_is_cut_elsewhere():
    row = Rearranged.of(Tensor(relax.Var("x", relax.TensorType((1, 6, 5), "int8"))))
    assert row.reshaped((2, 15)) is not None
    assert row.permuted([0, 2, 1]).reshaped((2, 15)) is None
