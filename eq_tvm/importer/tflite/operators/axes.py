"""Axes of tensors whose channels are moved behind the batch."""

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


def moved_axis(axis: int, rank: int) -> int:
    """Where an axis of the file is once channels come first."""
    if axis == 0:
        return 0
    return 1 if axis == rank - 1 else axis + 1


def channels_first(values: Sequence[_T]) -> list[_T]:
    """What there is for each axis of the file, in the order with channels first."""
    return [values[0], values[-1], *values[1:-1]]
