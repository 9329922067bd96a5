"""Axes with as many rows as the data choose, and how a model remembers them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import onnx

_ROWS = "eq_tvm.rows"  # property of a model: JSON, by tensor the fields of `Rows`
_SETTLED = "eq_tvm.settled"  # JSON, names of tensors


@dataclass(frozen=True)
class Rows:
    """An axis with as many rows as the data choose: its extent is how many there can be.

    Attributes
    ----------
    axis : int
    most : int
    count : str
        The tensor that says how many there are, int64 (1).
    """

    axis: int
    most: int
    count: str


@dataclass(frozen=True)
class Number:
    """A number that the data choose, which is not negative.

    Attributes
    ----------
    tensor : str
        That has it, int64 (1).
    least, most : int
    """

    tensor: str
    least: int
    most: int


def rows_of(model: onnx.ModelProto) -> dict[str, Rows]:
    """The tensors of a specialized model that have as many rows as the data choose."""
    text = next((each.value for each in model.metadata_props if each.key == _ROWS), "{}")
    return {name: Rows(**fields) for name, fields in json.loads(text).items()}


def settled_of(model: onnx.ModelProto) -> set[str]:
    """The tensors of such a model that mean something in all rows, though some operands do not."""
    text = next((each.value for each in model.metadata_props if each.key == _SETTLED), "[]")
    return set(json.loads(text))


def note_rows(model: onnx.ModelProto, rows: Mapping[str, Rows], settled: Iterable[str]) -> None:
    """Keep in a model what `rows_of` and `settled_of` read."""
    noted = {name: asdict(each) for name, each in rows.items()}
    onnx.helper.set_model_props(model, {_ROWS: json.dumps(noted), _SETTLED: json.dumps(sorted(settled))})
