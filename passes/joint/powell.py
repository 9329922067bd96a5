"""Minimization without gradients, along one direction after the other."""

from collections.abc import Callable, Iterator

import numpy as np

# Of a place and a direction, the function of how far to go.
Along = Callable[[np.ndarray, np.ndarray], Callable[[float], float]]

_GOLDEN = (3 - 5**0.5) / 2
_GROWTH = 1.6  # of steps that find a bracket
_APART = 0.05  # in parts of the bracket, the least between two places in it


def powell(
    along: Along, start: np.ndarray, value: float, step: float, evaluations: int
) -> Iterator[tuple[np.ndarray, float]]:
    """Powell's method (The Computer Journal 7, 1964, 155): yields the place after each iteration, and the value there.

    An iteration goes along each direction, at first the axes in their order. Then the way that all have gone together
    replaces the one that brought most, where it promises more by Powell's criterion.

    Parameters
    ----------
    along : Along
    start : numpy.ndarray (variables,)
    value : float
        Of the function there.
    step : float
        The first one along each direction; half as long in each further iteration.
    evaluations : int
        Along a direction.
    """
    place, directions = start, list(np.eye(len(start)))
    while True:
        before, first, gains = place, value, []
        for direction in directions:
            far, lower = line_minimum(along(place, direction), value, step, evaluations)
            gains.append(value - lower)
            place, value = place + far * direction, lower
        way = place - before
        if way.any():
            function, most = along(place, way), int(np.argmax(gains))
            beyond = function(1.0)
            bend = 2 * (first - 2 * value + beyond) * (first - value - gains[most]) ** 2
            if beyond < first and bend < gains[most] * (first - beyond) ** 2:
                far, value = line_minimum(function, value, 0.5, evaluations)
                place = place + far * way
                del directions[most]
                directions.append(way)
        yield place, value
        step /= 2


def line_minimum(function: Callable[[float], float], here: float, step: float, evaluations: int) -> tuple[float, float]:
    """Where a function that is `here` at 0 is least, as far as so many evaluations tell, and what it is there.

    Steps that grow bracket the minimum; parabolas and golden sections find it, as in Brent's Algorithms for
    Minimization without Derivatives (1973). It is never more than `here`.
    """
    seen = {0.0: here}

    def at(x: float) -> float:
        if x not in seen:
            seen[x] = function(x)
        return seen[x]

    low, middle, high = (0.0, step, step * (1 + _GROWTH)) if at(step) < here else (step, 0.0, -step)
    while at(high) < at(middle) and len(seen) <= evaluations:
        low, middle, high = middle, high, high + _GROWTH * (high - middle)
    low, high = min(low, high), max(low, high)
    while len(seen) <= evaluations:
        x = _inside(low, middle, high, at)
        if at(x) < at(middle):
            low, middle, high = (low, x, middle) if x < middle else (middle, x, high)
        elif x < middle:
            low = x
        else:
            high = x
    best = min(seen, key=lambda x: (seen[x], abs(x)))
    return best, seen[best]


def vertex(places: np.ndarray, values: np.ndarray) -> float | None:
    """Where the parabola through points, or nearest to more than three, is least; None where it is nowhere."""
    middle = places.mean()
    bend, slope, _ = np.polyfit(places - middle, values, 2) if np.isfinite(values).all() else (0.0, 0.0, 0.0)
    return float(middle - slope / (2 * bend)) if bend > 0 else None


def _inside(low: float, middle: float, high: float, at: Callable[[float], float]) -> float:
    """A new place in a bracket."""
    known = np.array([low, middle, high])
    x = vertex(known, np.array([at(each) for each in known.tolist()]))
    if x is not None and low < x < high and np.abs(known - x).min() >= _APART * (high - low):
        return x
    longer = high - middle if high - middle > middle - low else low - middle
    return middle + _GOLDEN * longer
