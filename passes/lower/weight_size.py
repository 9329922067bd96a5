"""How much room a kernel's weights take, and the choice of those that take little."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from eq_tvm.schedules.choice.candidate import Candidate

SLACK = 1.125  # times the fewest bytes: an edge that is filled up with zeros is no reason for a slow tiling

Choose = Callable[[str, Sequence[Candidate]], Candidate]  # (key, candidates), see `LowerToInteger`


def weight_bytes(candidate: Candidate) -> int:
    """Bytes of the weights as the kernel reads them."""
    assert isinstance(candidate.constants, functools.partial)
    plan = candidate.constants.args[0]
    return math.prod(plan.weight_shape) * np.dtype(plan.weight_dtype).itemsize


def small(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those candidates that do not enlarge the weights: no Winograd, no int16 where bytes do, no wide empty blocks."""
    least = min(map(weight_bytes, candidates))
    return [candidate for candidate in candidates if weight_bytes(candidate) <= SLACK * least]


def choose_small(choose: Choose) -> Choose:
    """`choose`, restricted to `small` candidates.

    It is asked under another key, so that what was measured among all candidates stays as it is.
    """
    return lambda key, candidates: choose(f"{key}, small weights", small(candidates))
