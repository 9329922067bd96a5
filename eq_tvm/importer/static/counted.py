"""Axes with as many rows as the data choose, and how a model remembers them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import onnx

_ROWS = "eq_tvm.rows"  # property of a model: JSON, by tensor the fields of `Rows`


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


def rows_of(model: onnx.ModelProto) -> dict[str, Rows]:
    """The tensors of a specialized model that have as many rows as the data choose."""
    text = next((each.value for each in model.metadata_props if each.key == _ROWS), "{}")
    return {name: Rows(**fields) for name, fields in json.loads(text).items()}


def note_rows(model: onnx.ModelProto, rows: Mapping[str, Rows]) -> None:
    """Keep in a model what `rows_of` reads."""
    onnx.helper.set_model_props(model, {_ROWS: json.dumps({name: asdict(each) for name, each in rows.items()})})
