"""Times engines in turn: A B C A B C ..., so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peers.worker import Worker

WARM_UP = 0.05  # seconds before what is measured: caches, clock, and threads that have fallen asleep


@dataclass(frozen=True)
class Times:
    """Seconds of each run, by round."""

    rounds: list[list[float]]

    @property
    def all(self) -> list[float]:
        return [time for times in self.rounds for time in times]

    @property
    def median(self) -> float:
        return statistics.median(self.all)

    @property
    def round_medians(self) -> list[float]:
        return [statistics.median(times) for times in self.rounds]

    def ratio_to(self, base: Times) -> tuple[float, float, float]:
        """The ratio of the medians, and the least and the greatest ratio of the medians of one round."""
        ratios = [mine / other for mine, other in zip(self.round_medians, base.round_medians, strict=True)]
        return self.median / base.median, min(ratios), max(ratios)


def contest(
    workers: Mapping[str, Worker], rounds: int, seconds: float, progress: Callable[[int], None] = lambda done: None
) -> dict[str, Times]:
    """Let each worker run for about `seconds` in each round, while the others wait.

    Parameters
    ----------
    workers : mapping from names to Worker
    rounds : int
    seconds : float
    progress : callable, optional
        Gets the number of rounds done.

    Returns
    -------
    dict from names to Times
    """
    single = {name: statistics.median(worker.run(4)[1:]) for name, worker in workers.items()}
    times: dict[str, list[list[float]]] = {name: [] for name in workers}
    for done in range(rounds):
        for name, worker in workers.items():
            worker.run(_runs(WARM_UP, single[name], least=1))
            times[name].append(worker.run(_runs(seconds, single[name], least=3)))
            single[name] = statistics.median(times[name][-1])
        progress(done + 1)
    return {name: Times(measured) for name, measured in times.items()}


def _runs(seconds: float, single: float, least: int) -> int:
    return max(least, round(seconds / single))
