"""Rows that there are, apart from those beyond the count."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.specializer import Specializer
from eq_tvm.importer.static.standard import evaluate


def inside(specializer: Specializer, rows: Rows, rank: int, axis: int | None = None) -> str:
    """Which rows there are, with one axis for each of a tensor's."""
    axis = rows.axis if axis is None else axis
    extents = [-1 if i == axis else 1 for i in range(rank)]
    places = specializer.once(
        ("places", rows.most, *extents), lambda: specializer.constant(np.arange(rows.most).reshape(extents))
    )
    return computed(specializer, "Less", places, rows.count)


def masked(specializer: Specializer, name: str, fill: Any) -> str:
    """A tensor with a number in the rows beyond the count."""
    dtype = dtype_of(specializer, name)
    rank = len(specializer.shape(name))
    key = ("fill", str(fill), dtype.name)
    filled = specializer.once(key, lambda: specializer.constant(np.array(fill, dtype)))
    return computed(specializer, "Where", inside(specializer, specializer.rows[name], rank), name, filled)


def dtype_of(specializer: Specializer, name: str) -> np.dtype:
    """Of a tensor's elements."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(specializer.types[name].tensor_type.elem_type))


def bounds_of(dtype: np.dtype) -> tuple[Any, Any]:
    """The lowest and the highest number of a type."""
    if dtype.kind == "b":
        return False, True
    return (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (-np.inf, np.inf)


def computed(specializer: Specializer, op_type: str, *operands: str, **attributes: Any) -> str:
    """A tensor that means something in all rows; the same for the same operands."""

    def kept() -> str:
        name = specializer.new_name(op_type)
        settle(specializer, helper.make_node(op_type, operands, [name], name=name, **attributes))
        return name

    return specializer.once((op_type, *operands, *sorted(map(str, attributes.items()))), kept)


def beside(specializer: Specializer, op_type: str, *operands: str) -> str:
    """A tensor of the rows that the first operand has, element by element; the same for the same operands."""

    def kept() -> str:
        name = specializer.new_name(op_type)
        specializer.rows[name] = specializer.rows[operands[0]]
        specializer.keep(helper.make_node(op_type, operands, [name], name=name))
        return name

    return specializer.once((op_type, *operands), kept)


def settle(specializer: Specializer, node: NodeProto) -> None:
    """Leave a node to be computed whose results mean something in all rows."""
    specializer.settled.update(filter(None, node.output))
    values = {name: specializer.value(name) for name in node.input if name}
    known = all(value is not None for value in values.values())
    results = evaluate(node, values, specializer.domains) if known else None
    for name, value in (results or {}).items():
        specializer.constant(value, name)
    if results is None:
        specializer.keep(node)
