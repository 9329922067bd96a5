"""Rules of operators on shapes that have a number of rows in them: a placeholder stands for it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from eq_tvm.importer.protobuf import attributes_of
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.rows.rule import across, keep
from eq_tvm.importer.static.specializer import Specializer
from eq_tvm.importer.static.standard import evaluate

ROWS = -(1 << 31) + 17  # the placeholder: nothing else in a shape is so large and negative


def reshape(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """To a shape that says -1, 0 or the number of rows where rows go on to be, with the same extents around."""
    data, target = node.input
    shape, known = specializer.shape(data), _shape_value(specializer, target)
    if known is None or (data not in specializer.rows and target not in specializer.row_shapes):
        raise across(specializer, node)
    at = specializer.rows[data].axis if data in specializer.rows else None
    keeps_zero = attributes_of(node).get("allowzero", 0)
    wanted = [shape[i] if n == 0 and not keeps_zero and i != at else int(n) for i, n in enumerate(known)]
    places = [i for i, n in enumerate(wanted) if n == ROWS or (n == 0 and i == at)]
    places = places or [i for i, n in enumerate(wanted) if n == -1]
    if at is None or len(places) != 1:
        raise across(specializer, node)
    (place,) = places
    before, after = (_resolved(part) for part in (wanted[:place], wanted[place + 1 :]))
    ends = math.prod(shape[:at]), math.prod(shape[at + 1 :])
    if any(n not in (None, end) for n, end in zip((before, after), ends, strict=True)):
        raise across(specializer, node)
    wanted[place] = shape[at]
    static = specializer.constant(np.array(wanted, np.int64))
    reshaped = helper.make_node("Reshape", [data, static], node.output, name=node.name)
    keep(specializer, reshaped, rows, place)


def _resolved(extents: list[int]) -> int | None:
    """How many elements; None where -1 leaves that open."""
    return None if -1 in extents else math.prod(extents)


def expand(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """To a shape that has the rows; where only the data have, to one that leaves them alone."""
    data, target = node.input
    known = _shape_value(specializer, target)
    if known is None:
        raise across(specializer, node)
    shape, rank = specializer.shape(data), max(len(known), len(specializer.shape(data)))
    wanted = [1] * (rank - len(known)) + [int(n) for n in known]
    places = {i for i, n in enumerate(wanted) if n == ROWS}
    if data in specializer.rows:
        places.add(rank - len(shape) + specializer.rows[data].axis)
    (place,) = places if len(places) == 1 else (-1,)
    at = place - (rank - len(shape))
    if place < 0 or wanted[place] not in (ROWS, 1) or (at >= 0 and data not in specializer.rows and shape[at] != 1):
        raise across(specializer, node)
    wanted[place] = rows.most
    static = specializer.constant(np.array(wanted, np.int64))
    keep(specializer, helper.make_node("Expand", [data, static], node.output, name=node.name), rows, place)


def constant_of_shape(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """The same number in all rows."""
    known = list(specializer.row_shapes[node.input[0]][1])
    if known.count(ROWS) != 1:
        raise across(specializer, node)
    value = attributes_of(node).get("value")
    filled = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    shape = [rows.most if n == ROWS else int(n) for n in known]
    specializer.constant(np.full(shape, filled[0], filled.dtype), node.output[0])
    specializer.rows[node.output[0]] = replace(rows, axis=known.index(ROWS))


def shape_of(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """The extents, with a placeholder for the number of rows."""
    shape = [ROWS if i == rows.axis else n for i, n in enumerate(specializer.shape(node.input[0]))]
    given = attributes_of(node)
    _set_shape(specializer, node.output[0], np.array(shape[given.get("start", 0) : given.get("end")], np.int64), rows)


def move_shape(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Extents that are only taken from one place to another."""
    values = {name: _shape_value(specializer, name) for name in node.input if name}
    known = all(value is not None for value in values.values())
    result = evaluate(node, values, specializer.domains) if known else None
    if result is None:
        raise across(specializer, node)
    _set_shape(specializer, node.output[0], result[node.output[0]], rows)


def _set_shape(specializer: Specializer, name: str, value: np.ndarray, rows: Rows) -> None:
    if ROWS not in value:
        specializer.constant(value, name)
        return
    specializer.types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
    specializer.row_shapes[name] = rows, value


def _shape_value(specializer: Specializer, name: str) -> np.ndarray | None:
    return specializer.row_shapes[name][1] if name in specializer.row_shapes else specializer.value(name)
