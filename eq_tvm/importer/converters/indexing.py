"""Operators that read or write by indices: an index that the data choose never leaves the tensor.

Indices from behind count from the end. Where one lies out of bounds, it is refused if it is constant, and means the
nearest element if it is not: kernels can't raise an error, and TVM's would read or write other memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.passes.graph.rewrite import array


def _gather(call: OnnxCall) -> relax.Expr:
    shape, axis = call.shape(0), _axis(call)
    flat = relax.op.reshape(_bounded(call, 1, shape[axis]), (-1,))
    taken = relax.op.take(call.inputs[0], call.builder.normalize(flat), axis, "clip")  # its fast mode checks nothing
    return relax.op.reshape(call.builder.normalize(taken), shape[:axis] + call.shape(1) + shape[axis + 1 :])


def _gather_elements(call: OnnxCall) -> relax.Expr:
    axis = _axis(call)
    return relax.op.gather_elements(call.inputs[0], _bounded(call, 1, call.shape(0)[axis]), axis)


def _gather_nd(call: OnnxCall) -> relax.Expr:
    batch = call.attributes.get("batch_dims", 0)
    return relax.op.gather_nd(call.inputs[0], _bounded(call, 1, _extents(call, batch)), batch)


def _scatter_elements(call: OnnxCall) -> relax.Expr:
    """Into the part of the data that has the indices' extents: TVM's takes them to have the data's."""
    axis, data, shape, builder = _axis(call), call.inputs[0], call.shape(0), call.builder
    indices = _bounded(call, 1, shape[axis])
    extents = [n if i == axis else call.shape(1)[i] for i, n in enumerate(shape)]
    narrow = [i for i, n in enumerate(shape) if extents[i] < n]

    def part(axes: list[int], starts: list[int], ends: list[int]) -> relax.Expr:
        return builder.emit(relax.op.strided_slice(data, axes, starts, ends)) if axes else data

    corner = part(narrow, [0] * len(narrow), [extents[i] for i in narrow])
    result = relax.op.scatter_elements(corner, indices, call.inputs[2], axis, _reduction(call))
    for n, i in enumerate(narrow):  # whole in the axes before, and as narrow as the indices in those behind
        behind = narrow[n + 1 :]
        starts, ends = [extents[i], *[0] * len(behind)], [shape[i], *[extents[j] for j in behind]]
        result = relax.op.concat([builder.emit(result), part([i, *behind], starts, ends)], axis=i)
    return result


def _scatter_nd(call: OnnxCall) -> relax.Expr:
    return relax.op.scatter_nd(call.inputs[0], _bounded(call, 1, _extents(call)), call.inputs[2], _reduction(call))


def _embed_layer_norm(call: OnnxCall) -> relax.Expr:
    """Of com.microsoft: rows of tables of words, positions and segments, added and normalized; a mask's sums."""
    batch, length = call.shape(0)
    builder, total = call.builder, None
    for indices, table in ((0, 2), (8, 3), (1, 4)):
        if call.operand(table) is None:
            continue
        if call.operand(indices) is not None:
            rows = relax.op.take(call.inputs[table], _bounded(call, indices, call.shape(table)[0]), 0, "clip")
        else:
            rows = relax.op.strided_slice(call.inputs[table], [0], [0], [length])
        total = builder.emit(rows) if total is None else builder.emit(relax.op.add(total, builder.emit(rows)))
    epsilon = float(call.attributes.get("epsilon", 1e-12))
    normalized = relax.op.nn.layer_norm(total, call.inputs[5], call.inputs[6], axes=-1, epsilon=epsilon)
    mask = call.operand(7)
    counts = relax.const(np.zeros(batch, "int32")) if mask is None else builder.emit(relax.op.sum(mask, axis=1))
    return relax.Tuple([builder.emit(normalized), counts])


INDEXING: dict[str, Converter] = {
    "EmbedLayerNormalization": _embed_layer_norm,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}


def _axis(call: OnnxCall) -> int:
    return call.attributes.get("axis", 0) % len(call.shape(0))


def _extents(call: OnnxCall, first: int = 0) -> np.ndarray:
    """Of the axes that a row of indices speaks of."""
    return np.array(call.shape(0)[first : first + call.shape(1)[-1]])


def _reduction(call: OnnxCall) -> str:
    reduction = call.attributes.get("reduction", "none")
    return "update" if reduction == "none" else reduction


def _bounded(call: OnnxCall, index: int, extents: Any) -> relax.Expr:
    """An input within [0, extents), which are one number or one for each place of the last axis."""
    indices, dtype = call.inputs[index], call.dtype(index)
    known = array(indices)
    if known is not None:
        if wrong := known[(known < -extents) | (known >= extents)].ravel().tolist():
            raise ValueError(f"its index {wrong[0]} is out of bounds: the axis has {np.max(extents)} elements")
        return relax.const(np.where(known < 0, known + extents, known), dtype)
    extents = np.asarray(extents, dtype)
    zero, extent, last = (relax.const(bound, dtype) for bound in (0, extents, extents - np.ones((), dtype)))
    from_behind = call.builder.normalize(relax.op.add(indices, extent))
    wrapped = relax.op.where(call.builder.normalize(relax.op.less(indices, zero)), from_behind, indices)
    held = relax.op.maximum(call.builder.normalize(wrapped), zero)
    return call.builder.normalize(relax.op.minimum(call.builder.normalize(held), last))
