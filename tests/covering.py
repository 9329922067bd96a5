"""Combinations of parameters: a few in every run, in which each value occurs, and all of them on request."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def covering(*axes: Sequence[Any]) -> list[Any]:
    """The product of `axes` for `pytest.mark.parametrize`.

    Every run has as many as the longest axis: all their first values, all their second ones, and so on, the shorter
    axes from the start again. The others are exhaustive.
    """
    few = {tuple(n % len(axis) for axis in axes) for n in range(max(map(len, axes)))}
    return [
        pytest.param(*(value for _, value in row), marks=usual(tuple(at for at, _ in row) in few))
        for row in itertools.product(*map(enumerate, axes))
    ]


def usual(is_usual: bool) -> list[pytest.MarkDecorator]:
    """Marks of a parameter: none of one that every run has."""
    return [] if is_usual else [pytest.mark.exhaustive]
