"""Rules of operators that reduce or sort: along the axis of rows, of those only that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of, copy_of
from eq_tvm.importer.static.counted import Number, Rows
from eq_tvm.importer.static.rows.data import after_reduction, axes_of
from eq_tvm.importer.static.rows.masking import bounds_of, computed, dtype_of, masked, settle
from eq_tvm.importer.static.rows.numbers import combine, number_of, value_of
from eq_tvm.importer.static.rows.rule import across, keep
from eq_tvm.importer.static.specializer import Specializer


def reduce(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Along other axes, row by row; along that of the rows with a neutral number in those that there are not."""
    data, given = node.input[0], attributes_of(node)
    if data not in specializer.rows:
        raise across(specializer, node)
    axes = axes_of(specializer, node, len(specializer.shape(data)))
    if axes is None:
        axes = [] if given.get("noop_with_empty_axes", 0) else list(range(len(specializer.shape(data))))
    if rows.axis not in axes:
        return keep(specializer, node, rows, after_reduction(rows.axis, axes, given.get("keepdims", 1)))
    if node.op_type not in _NEUTRAL:
        raise across(specializer, node)
    fill = _NEUTRAL[node.op_type](dtype_of(specializer, data))
    reduced = copy_of(node, [masked(specializer, data, fill), *node.input[1:]])
    if node.op_type != "ReduceMean":
        return settle(specializer, reduced)
    return _mean(specializer, reduced, rows)


_NEUTRAL: dict[str, Callable[[np.dtype], Any]] = {
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare"), lambda _: 0),
    "ReduceMax": lambda dtype: bounds_of(dtype)[0],
    "ReduceMin": lambda dtype: bounds_of(dtype)[1],
    "ReduceProd": lambda _: 1,
}


def _mean(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of all rows that there can be, times how many those are of the others."""
    dtype = dtype_of(specializer, node.input[0])
    if dtype.kind != "f":
        raise across(specializer, node)
    whole = specializer.new_name(node.output[0])
    settle(specializer, copy_of(node, outputs=[whole]))
    count = computed(specializer, "Cast", rows.count, to=helper.np_dtype_to_tensor_dtype(dtype))
    factor = specializer.reshape(computed(specializer, "Div", specializer.constant(dtype.type([rows.most])), count), [])
    settle(specializer, helper.make_node("Mul", [whole, factor], node.output, name=node.name))


def top_k(specializer: Specializer, node: NodeProto) -> None:
    """Of the rows, or of other tensors, as many as there are rows at most; what there is not comes last."""
    data, given = node.input[0], attributes_of(node)
    shape = specializer.shape(data)
    axis, rows = given.get("axis", -1) % len(shape), specializer.rows.get(data)
    k = None if len(node.input) < 2 else value_of(specializer, node.input[1])
    number = None if k is None or k.size != 1 else specializer.counts.get(int(k.reshape(())))
    if number is None and rows is not None and rows.axis != axis:
        return keep(specializer, node, rows, rows.axis)
    if number is None or (rows is not None and rows.axis != axis):
        raise across(specializer, node)
    there = combine(specializer, "Min", number, shape[axis] if rows is None else number_of(specializer, rows))
    if not isinstance(there, Number):
        raise across(specializer, node)
    if rows is not None:
        lowest, highest = bounds_of(dtype_of(specializer, data))
        data = masked(specializer, data, lowest if given.get("largest", 1) else highest)
    most = specializer.constant(np.array([there.most], np.int64))
    keep(specializer, copy_of(node, [data, most]), Rows(axis, there.most, there.tensor), axis)
    specializer.places.update(node.output[1:])
    return None
