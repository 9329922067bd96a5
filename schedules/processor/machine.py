"""The record of a processor."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What the choice of kernels knows of a processor: see ``targets.yaml``.

    Parameters
    ----------
    instructions : mapping
        Name of a multiply instruction -> multiply-accumulates per cycle.
    issue, loads : float
        Instructions in all and loads that it starts per cycle, as found in practice.
    l1, l2, l3 : int
        Data caches in bytes; `l3` may be 0.
    """

    instructions: Mapping[str, float]
    issue: float = 3.75
    loads: float = 1.75
    l1: int = 32768
    l2: int = 1 << 20
    l3: int = 1 << 24

    @property
    def in_order(self) -> bool:
        """Whether instructions start in the order of the program, so that one that waits holds up all others."""
        return self.issue <= 1
