"""HAGO's greedy search: each layer in turn gets as narrow as the whole network's error lets it."""

from collections.abc import Callable, Sequence

from ..quantized.progress import Progress, no_progress

_TOLERANCES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # by which part of the error it may grow, in turn


def greedy(
    cycles: Sequence[Sequence[float]],
    error: Callable[[Sequence[int]], float],
    budget: float,
    progress: Progress = no_progress,
) -> tuple[int, ...]:
    """A choice for each unit, so that the sum of cycles is within a budget.

    As HAGO (TVM pull request 6980): units in the order of execution; the choices of each from the most exact one on,
    with those after it at their most exact one; the first that makes the whole worse than the best so far ends that.
    HAGO knows no times. Here the search ends as soon as the budget is met; where it is not, it goes over all units
    again, and calls worse what is so by more.

    Parameters
    ----------
    cycles : sequence of sequence of float
        Of each unit's choices, the most exact one first.
    error : callable (choices) -> float
        Of the whole, for the number of a choice of each unit.
    budget : float
    progress : callable (done: float from 0 to 1, message: str), optional

    Returns
    -------
    tuple of int
        The fastest ones, where the budget is never met.
    """
    chosen = [0] * len(cycles)
    best = error(chosen)
    for turn, tolerance in enumerate(_TOLERANCES):
        for k, choices in enumerate(cycles):
            progress((turn + k / len(cycles)) / len(_TOLERANCES), f"trying unit {k + 1} of {len(cycles)}")
            for number in range(chosen[k] + 1, len(choices)):
                if choices[number] >= choices[chosen[k]]:
                    continue  # neither more exact nor faster
                tried = [*chosen[:k], number, *chosen[k + 1 :]]
                found = error(tried)
                if found > best * (1 + tolerance):
                    break
                chosen, best = tried, min(best, found)
                if sum(each[n] for each, n in zip(cycles, chosen, strict=True)) <= budget:
                    return tuple(chosen)
    return tuple(min(range(len(choices)), key=choices.__getitem__) for choices in cycles)
