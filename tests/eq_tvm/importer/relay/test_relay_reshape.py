"""The codes of Relay's reshape."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import random
from relay_runs import run_body

from eq_tvm.importer.relay.operators.moves import new_shape


@pytest.mark.parametrize(
    "shape,codes,expected",
    [
        ((2, 3, 4), (0, -1), [2, 12]),
        ((2, 3, 4), (4, 0, 2), [4, 3, 2]),
        ((2, 3, 4), (-1,), [24]),
        ((2, 3, 4), (-2,), [2, 3, 4]),
        ((2, 3, 4), (2, -2), [2, 3, 4]),
        ((2, 3, 4), (-2, 1, 1), [2, 3, 4, 1, 1]),
        ((2, 3, 4, 5), (-3, -3), [6, 20]),
        ((2, 3, 4, 5), (0, -3, 0), [2, 12, 5]),
        ((2, 3, 4), (-4, 1, 2, -2), [1, 2, 3, 4]),
        ((2, 3, 4), (2, -4, -1, 3, -2), [2, 1, 3, 4]),
        ((1, 8, 9, 10), (-4, 1, -1, -3, -2), [1, 1, 72, 10]),
        ((), (1, 1), [1, 1]),
    ],
)
def test_codes(shape, codes, expected):
    assert new_shape(shape, codes) == expected


@pytest.mark.parametrize(
    "shape,codes",
    [
        ((2, 3), (0, 0, 0)),
        ((2, 3), (5,)),
        ((2, 3), (-1, -1)),
        ((2, 3), (4, -1)),
        ((2,), (-3,)),
        ((5,), (-4, 2, -1)),
        ((2,), (-5,)),
        ((2,), (-4,)),
    ],
)
def test_what_does_not_fit_is_refused(shape, codes):
    with pytest.raises(ValueError, match="does not fit"):
        new_shape(shape, codes)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data())
def test_sizes_stay(shape, data):
    """Codes made for a shape are taken, and give what they were made of."""
    rest, codes, expected = list(shape), [], []
    while rest:
        size = rest.pop(0)
        code = data.draw(st.sampled_from([0, -2, -3, -4, size]))
        if code == -2:
            codes.append(-2)
            expected += [size, *rest]
            rest = []
        elif code == -3 and rest:
            codes.append(-3)
            expected.append(size * rest.pop(0))
        elif code == -4:
            left = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
            given_halves = data.draw(st.sampled_from([(left, size // left), (-1, size // left), (left, -1)]))
            codes += [-4, *given_halves]
            expected += [left, size // left]
        else:
            codes.append(max(code, 0))
            expected.append(size)
    assert new_shape(shape, codes) == expected
    assert math.prod(expected) == math.prod(shape)


def test_in_a_network(tmp_path):
    x = random(2, 6, 4)
    (y,) = run_body(tmp_path, "reshape(%a, newshape=[0, -4, 2, -1, -2])", x)
    np.testing.assert_array_equal(y, x.reshape(2, 2, 3, 4))
