"""One choice for each unit, so that the sum of errors is the least that a budget of cycles allows: dynamic programming.

The multiple-choice knapsack (Sinha and Zoltners, 1979), with cycles in so many equal steps: each choice is rounded up
to whole steps beyond the cheapest one of its unit, so a budget is never exceeded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Choice = tuple[float, float]  # its cycles, and its error
STEPS = 20_000


@dataclass(frozen=True)
class Assignment:
    """A choice for each unit.

    Attributes
    ----------
    chosen : tuple of int
        Their numbers.
    cycles, error : float
        Their sums.
    """

    chosen: tuple[int, ...]
    cycles: float
    error: float


def front(units: Sequence[Sequence[Choice]]) -> list[Assignment]:
    """All assignments to which no other one is better in both, by rising cycles and falling error.

    Parameters
    ----------
    units : sequence of sequence of (cycles, error)
        The choices of each unit.
    """
    if not units:
        return [Assignment((), 0.0, 0.0)]
    least = [min(cycles for cycles, _ in choices) for choices in units]
    most = sum(max(cycles for cycles, _ in choices) for choices in units) - sum(least)
    step = max(most, 1.0) / STEPS
    size = STEPS + len(units) + 1
    errors = np.zeros(size)  # of the units so far, for each budget
    taken = np.zeros((len(units), size), np.int8)
    for k, choices in enumerate(units):
        best = np.full(size, np.inf)
        for number, (cycles, error) in enumerate(choices):
            used = int(np.ceil((cycles - least[k]) / step - 1e-9))
            total = np.full(size, np.inf)
            total[used:] = errors[: size - used] + error
            taken[k][total < best] = number
            best = np.minimum(best, total)
        errors = best
    ends = np.flatnonzero(np.diff(errors, prepend=np.inf) < 0)
    return [_assignment(units, taken, least, step, int(end)) for end in ends]


def within(assignments: Sequence[Assignment], cycles: float) -> Assignment:
    """The one with the least error that takes at most so many cycles, or the fastest one, if none does."""
    fitting = [each for each in assignments if each.cycles <= cycles * (1 + 1e-12)]
    return fitting[-1] if fitting else assignments[0]


def _assignment(
    units: Sequence[Sequence[Choice]], taken: np.ndarray, least: Sequence[float], step: float, budget: int
) -> Assignment:
    chosen: list[int] = []
    for k in reversed(range(len(units))):
        number = int(taken[k][budget])
        budget -= int(np.ceil((units[k][number][0] - least[k]) / step - 1e-9))
        chosen.append(number)
    chosen.reverse()
    picked = [units[k][number] for k, number in enumerate(chosen)]
    return Assignment(tuple(chosen), sum(cycles for cycles, _ in picked), sum(error for _, error in picked))
