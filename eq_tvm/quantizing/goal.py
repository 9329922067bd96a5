"""What types by cost are to reach: a time, as exactly as possible, or a loss, as fast as possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

from eq_tvm.passes.mixed.layer_types import NARROW, NARROWEST, TYPES, WIDE

SLACK = 1.01  # times the cycles of INT7 everywhere: what may be spent for exactness where nobody says


@dataclass(frozen=True)
class Goal:
    """A time, or none, and how types are searched for.

    Attributes
    ----------
    speed : float, optional
        How many times as fast as INT8 everywhere.
    milliseconds : float, optional
        Of one run on one core.
    frequency : float
        The core's cycles per second.
    time : callable (annotated module) -> seconds, optional
        Where networks can be timed: what tells more than `frequency`.
    is_open : bool
        Whether something else decides, by the whole front.
    search : {"knapsack", "greedy"}
    sensitivity : {"outputs", "nuclear"}
    """

    speed: float | None = None
    milliseconds: float | None = None
    frequency: float = 0.0
    time: Callable[..., float] | None = None
    is_open: bool = False
    search: str = "knapsack"
    sensitivity: str = "outputs"

    def cycles(self, totals: Mapping[str, float]) -> float:
        """That may be spent, given those of the network with each type everywhere."""
        if self.speed is not None:
            return totals[WIDE] / self.speed
        if self.milliseconds is not None:
            return self.milliseconds * 1e-3 * self.frequency
        return SLACK * totals[NARROW]

    @staticmethod
    def least(totals: Mapping[str, float]) -> float:
        """Cycles of the fastest type everywhere, and next to no more."""
        return SLACK * min(totals.values())

    def types(self, totals: Mapping[str, float]) -> Sequence[str]:
        """Those to choose from, the narrowest first: below INT7 only where INT7 is too slow."""
        below = self.is_open or self.cycles(totals) < totals[NARROW]
        return [scheme for scheme in TYPES if below or scheme != NARROWEST]

    def out_of_reach(self, least: float, totals: Mapping[str, float], target: str) -> str:
        """What to say then; `least` are the cycles of the fastest choice. What it names can be asked for."""
        if self.speed is not None:
            return (
                f"--speed {self.speed:g} is out of reach: on {target} no choice of types is estimated to be more than "
                f"{_rounded(totals[WIDE] / least, ROUND_FLOOR)} times as fast as INT8 everywhere"
            )
        return (
            f"--within-ms {self.milliseconds:g} is out of reach: on {target} no choice of types is estimated to take "
            f"less than {_rounded(1e3 * least / self.frequency, ROUND_CEILING)} ms on one core"
        )


def _rounded(number: float, way: str) -> str:
    """Of three digits: to the nearest, it might itself be out of reach."""
    return f"{Context(3, way).create_decimal_from_float(number):f}"
