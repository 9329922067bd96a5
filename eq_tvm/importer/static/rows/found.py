"""Rules of operators that find things among rows: those beyond the count must not be found."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper

from eq_tvm.importer.protobuf import copy_of
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.rows.rule import across
from eq_tvm.importer.static.selection import HANDLERS
from eq_tvm.importer.static.specializer import Specializer


def nonzero(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of what is not 0 in the rows that there are."""
    (data,) = node.input
    if data not in specializer.rows:
        raise across(specializer, node)
    if specializer.types[data].tensor_type.elem_type != TensorProto.BOOL:
        data = _computed(specializer, "Cast", data, to=TensorProto.BOOL)
    inside = _inside(specializer, rows, len(specializer.shape(data)))
    HANDLERS["NonZero"](specializer, copy_of(node, [_computed(specializer, "And", data, inside)]), {})


def suppression(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of boxes and scores that have the same rows: a score of -inf is never taken."""
    boxes, scores, *others = node.input
    given = [specializer.rows.get(name) for name in (boxes, scores)]
    if None in given or [each.axis for each in given if each] != [1, 2] or any(n in specializer.rows for n in others):
        raise across(specializer, node)
    lowest = specializer.constant(np.float32(-np.inf))
    masked = _computed(specializer, "Where", _inside(specializer, rows, 3, 2), scores, lowest)
    HANDLERS["NonMaxSuppression"](specializer, copy_of(node, [boxes, masked, *others]), {})


def _inside(specializer: Specializer, rows: Rows, rank: int, axis: int | None = None) -> str:
    """Which rows there are, with one axis for each of a tensor's."""
    axis = rows.axis if axis is None else axis
    extents = [-1 if i == axis else 1 for i in range(rank)]
    places = specializer.once(
        ("places", rows.most, *extents), lambda: specializer.constant(np.arange(rows.most).reshape(extents))
    )
    return _computed(specializer, "Less", places, rows.count)


def _computed(specializer: Specializer, op_type: str, *operands: str, **attributes: int) -> str:
    """A tensor that means something in all rows; the same for the same operands."""

    def computed() -> str:
        name = specializer.new_name(op_type)
        specializer.settled.add(name)
        specializer.keep(helper.make_node(op_type, operands, [name], name=name, **attributes))
        return name

    return specializer.once((op_type, *operands), computed)
