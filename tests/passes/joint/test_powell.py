"""Powell's method on functions whose minima are known."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.passes.joint.powell import line_minimum, powell, vertex

_places = st.floats(-3, 3)


def _minimized(function, start, iterations, evaluations=12):
    def along(place, way):
        return lambda far: function(place + far * way)

    *_, (place, value) = islice(powell(along, start, function(start), 0.5, evaluations), iterations)
    assert value == function(place)
    return place, value


@pytest.mark.parametrize("iterations", [3, 8])
def test_a_narrow_valley(iterations):
    """Its axes are not those of the space: coordinate descent alone would take hundreds of iterations."""
    lengths, (turned, _) = np.array([1, 10, 100]), np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    minimum = np.array([1.0, -2.0, 0.5])
    place, value = _minimized(lambda x: float(np.sum(lengths * (turned @ (x - minimum)) ** 2)), np.zeros(3), iterations)
    assert value < (0.1 if iterations == 3 else 1e-4)
    assert np.abs(place - minimum).max() < (0.5 if iterations == 3 else 0.05)


@given(_places, st.floats(0.01, 100), st.floats(0.05, 0.5))
def test_a_line(minimum, bend, step):
    far, value = line_minimum(lambda x: bend * (x - minimum) ** 2, bend * minimum**2, step, 20)
    assert value == bend * (far - minimum) ** 2
    assert abs(far - minimum) <= 0.02 * max(abs(minimum), step)


@given(st.lists(st.floats(-10, 10), min_size=40, max_size=40), st.integers(2, 10))
def test_never_uphill_nor_more_evaluations(values, evaluations):
    """Whatever the function: here it has no pattern at all."""
    rest = iter(values[1:])
    asked = []

    def function(x):
        asked.append(x)
        return next(rest)

    far, value = line_minimum(function, values[0], 0.2, evaluations)
    assert len(asked) <= evaluations + 1 and value == min(values[: len(asked) + 1])
    assert value < values[0] or far == 0


def test_vertex():
    places = np.linspace(2, 4, 10)
    assert vertex(places, 3 * (places - 2.7) ** 2 + 1) == pytest.approx(2.7)
    assert vertex(places, -((places - 2.7) ** 2)) is None
    assert vertex(places, np.where(places < 3, np.inf, places)) is None
