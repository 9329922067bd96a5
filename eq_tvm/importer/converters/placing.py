"""Operators that place elements by an index: OneHot, ReverseSequence, TensorScatter, TopK, Trilu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.schedules.operators.sorting import top_k


def _one_hot(call: OnnxCall) -> relax.Expr:
    """Indices from behind count from the end; those out of bounds give a row of the value for off."""
    depth = call.number(1)
    shape, builder = call.shape(0), call.builder
    axis = call.attributes.get("axis", -1) % (len(shape) + 1)
    indices = builder.emit(relax.op.astype(call.inputs[0], "int64"))
    indices = builder.emit(relax.op.expand_dims(indices, axis))
    places = np.arange(depth).reshape(-1, *[1] * (len(shape) - axis))
    hit = builder.emit(relax.op.equal(indices, relax.const(places)))
    hit_from_behind = builder.emit(relax.op.equal(indices, relax.const(places - depth)))
    off, on = (builder.emit(relax.op.strided_slice(call.inputs[2], [0], [start], [start + 1])) for start in (0, 1))
    return relax.op.where(builder.emit(relax.op.logical_or(hit, hit_from_behind)), on, off)


def _reverse_sequence(call: OnnxCall) -> relax.Expr:
    """Of each batch, as many elements along time as its length says."""
    batch, time = call.attributes.get("batch_axis", 1), call.attributes.get("time_axis", 0)
    extent = call.shape(0)[time]

    def reversed_(x: te.Tensor, lengths: te.Tensor) -> te.Tensor:
        def at(*i: Any) -> Any:
            length = tirx.min(lengths[i[batch]].astype("int64"), tirx.const(extent, "int64"))
            step = i[time].astype("int64")
            back = tirx.Select(step < length, length - 1 - step, step)
            return x(*[back if axis == time else each for axis, each in enumerate(i)])

        return te.compute(x.shape, at, "reversed")

    return call.builder.call_te(reversed_, call.inputs[0], call.inputs[1])


def _tensor_scatter(call: OnnxCall) -> relax.Expr:
    """A cache in which each batch's new elements replace those from its position on, around its end if circular."""
    shape, count = call.shape(0), call.shape(1)
    axis = call.attributes.get("axis", -2) % len(shape)
    extent, new = shape[axis], count[axis]
    is_circular = call.attributes.get("mode", "linear") == "circular"
    positions = call.operand(2)
    if positions is None:
        positions = relax.const(np.zeros(shape[0], "int64"))

    def scattered(past: te.Tensor, update: te.Tensor, start: te.Tensor) -> te.Tensor:
        def at(*i: Any) -> Any:
            offset = i[axis].astype("int64") - start[i[0]].astype("int64")
            if is_circular:
                offset = tirx.floormod(offset, tirx.const(extent, "int64"))
            inside = tirx.all(offset >= 0, offset < new)
            place = tirx.max(tirx.min(offset, tirx.const(new - 1, "int64")), tirx.const(0, "int64"))
            return tirx.Select(inside, update(*[place if k == axis else each for k, each in enumerate(i)]), past(*i))

        return te.compute(past.shape, at, "scattered")

    return call.builder.call_te(scattered, call.inputs[0], call.inputs[1], positions)


def _top_k(call: OnnxCall) -> relax.Expr:
    """By a kernel of our own: TVM's needs a function that not every runtime has, and lacks types."""
    shape, k = call.shape(0), call.number(1)
    axis, largest = call.attributes.get("axis", -1) % len(shape), bool(call.attributes.get("largest", 1))
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    if not 0 < k <= shape[axis]:
        raise ValueError(f"it wants {k} of {shape[axis]} elements")
    flat = call.builder.emit(relax.op.reshape(call.inputs[0], (outer, shape[axis], inner)))
    kernel = top_k(outer, shape[axis], inner, k, call.dtype(0), largest)
    results = call.kernel(kernel, [flat], [((outer, k, inner), dtype) for dtype in (call.dtype(0), "int64")])
    whole = (*shape[:axis], k, *shape[axis + 1 :])
    return relax.Tuple([call.builder.emit(relax.op.reshape(result, whole)) for result in results])


PLACING: dict[str, Converter] = {
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
    "TensorScatter": _tensor_scatter,
    "TopK": _top_k,
}
