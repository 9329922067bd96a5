"""Layouts, as NCHW or OIHW4i4o: a letter for each axis, small ones with a factor where an axis is blocked."""

from __future__ import annotations

import re
from typing import NamedTuple

from eq_tvm.importer.relay.operation import Operation
from eq_tvm.importer.relay.values import Value


class Axis(NamedTuple):
    """One axis of a layout; of a whole one the factor is 0."""

    letter: str
    factor: int


def parse_layout(layout: str) -> list[Axis]:
    """The axes.

    Raises
    ------
    ValueError
        What is no layout.
    """
    if not re.fullmatch(r"(?:[A-Z]|\d+[a-z])+", layout):
        raise ValueError(f"{layout!r} is no layout")
    return [Axis(letter.upper(), int(factor or 0)) for factor, letter in re.findall(r"(\d*)([A-Za-z])", layout)]


def convert_layout(operation: Operation, value: Value, source: str, target: str) -> Value:
    """Move a tensor's axes, and join and split blocked ones.

    Raises
    ------
    ValueError
        Layouts that do not fit each other, or the tensor.
    """
    before, after = parse_layout(source), parse_layout(target)
    letters = list(dict.fromkeys(axis.letter for axis in after))
    if len(before) != len(value.shape) or {axis.letter for axis in before} != set(letters):
        raise ValueError(f"a tensor {value.shape} can't be moved from {source} to {target}")
    if source == target:
        return value
    value, whole = _joined(operation, value, before, letters)
    return _split(operation, value, whole, after)


def _joined(operation: Operation, value: Value, before: list[Axis], letters: list[str]) -> tuple[Value, list[str]]:
    """The tensor with whole axes in the order of `letters`: their parts side by side, then joined."""
    order = [i for letter in letters for i, axis in enumerate(before) if axis.letter == letter]
    moved = operation.transpose(value, order)
    sizes = dict.fromkeys(letters, 1)
    for axis, size in zip(before, value.shape, strict=True):
        sizes[axis.letter] *= size
    return operation.reshape(moved, [sizes[letter] for letter in letters]), letters


def _split(operation: Operation, value: Value, letters: list[str], after: list[Axis]) -> Value:
    """Whole axes cut into those of `after`, and these in their order."""
    factors = {axis.letter: axis.factor for axis in after if axis.factor}
    if len(factors) + len(letters) != len(after):
        raise ValueError("axes that are blocked more than once are not supported")
    parts: list[Axis] = []
    shape: list[int] = []
    for letter, size in zip(letters, value.shape, strict=True):
        factor = factors.get(letter, 1)
        if size % factor:
            raise ValueError(f"{size} can't be cut into blocks of {factor}")
        parts.append(Axis(letter, 0))
        shape.append(size // factor)
        if letter in factors:
            parts.append(Axis(letter, factor))
            shape.append(factor)
    return operation.transpose(operation.reshape(value, shape), [parts.index(axis) for axis in after])
