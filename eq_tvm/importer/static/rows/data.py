"""Rules of operators on the rows themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto

from eq_tvm.importer.protobuf import attributes_of
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.rows.rule import across, keep
from eq_tvm.importer.static.rows.shapes import move_shape
from eq_tvm.importer.static.specializer import Specializer


def elementwise(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Rows beside rows; other operands are the same for all of them."""
    shapes = {name: specializer.shape(name) for name in node.input if name}
    rank = max(map(len, shapes.values()))
    axes = {rank - len(shapes[name]) + specializer.rows[name].axis for name in shapes if name in specializer.rows}
    axis = axes.pop() if len(axes) == 1 else None
    for name, shape in shapes.items():
        at = -1 if axis is None else axis - (rank - len(shape))
        if name not in specializer.rows and at >= 0 and shape[at] != 1:
            raise across(specializer, node)
    keep(specializer, node, rows, axis)


def gather(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """At indices that have rows, of these or others, or of rows along another axis."""
    data, indices = node.input
    if data in specializer.row_shapes:
        return move_shape(specializer, node, rows)
    axis, rank = attributes_of(node).get("axis", 0), len(specializer.shape(data))
    axis %= rank
    if data not in specializer.rows:
        return keep(specializer, node, rows, axis + rows.axis)
    at = specializer.rows[data].axis
    if at == axis and indices in specializer.rows and indices in specializer.places:
        return keep(specializer, node, specializer.rows[indices], axis + specializer.rows[indices].axis)
    if indices in specializer.rows or at == axis:
        raise across(specializer, node)
    return keep(specializer, node, rows, at if at < axis else at - 1 + len(specializer.shape(indices)))


def gather_nd(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """At indices that have rows, of these or others."""
    data, indices = node.input
    if indices not in specializer.rows:
        raise across(specializer, node)
    found, (*ahead, indexed) = specializer.rows[indices], specializer.shape(indices)
    fits = found.axis < len(ahead) and not attributes_of(node).get("batch_dims", 0)
    if data in specializer.rows:
        fits = fits and specializer.rows[data].axis < indexed and indices in specializer.places
    keep(specializer, node, found, found.axis if fits else None)


def concat(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Along another axis."""
    if any(name in specializer.row_shapes for name in node.input):
        return move_shape(specializer, node, rows)
    rank = len(specializer.shape(node.input[0]))
    axes = {specializer.rows[name].axis if name in specializer.rows else -1 for name in node.input}
    axis = axes.pop() if len(axes) == 1 else -1
    fits = axis >= 0 and axis != attributes_of(node).get("axis", 1) % rank
    return keep(specializer, node, rows, axis if fits else None)


def slice_(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of other axes; of the rows, the first ones."""
    if node.input[0] in specializer.row_shapes:
        return move_shape(specializer, node, rows)
    given = attributes_of(node)
    rank = len(specializer.shape(node.input[0]))
    starts, ends, axes, steps = (
        given.get(name, None if i >= len(node.input) or not node.input[i] else specializer.value(node.input[i]))
        for i, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None:
        raise across(specializer, node)
    axes = [int(axis) % rank for axis in (range(len(starts)) if axes is None else axes)]
    at = rows.axis
    if at in axes:
        i = axes.index(at)
        start, end, step = int(starts[i]), int(ends[i]), 1 if steps is None else int(steps[i])
        if start != 0 or end <= 0 or step != 1:
            raise across(specializer, node)
        most = min(end, rows.most)
        rows = Rows(at, most, _least(specializer, rows.count, most))
    return keep(specializer, node, rows, at)


def _least(specializer: Specializer, count: str, most: int) -> str:
    limit = np.array([most], np.int64)
    return specializer.once(("Min", count, most), lambda: specializer.call("Min", count, specializer.constant(limit)))


def by_axis(default: int) -> Callable[[Specializer, NodeProto, int], int | None]:
    """Operators that keep the rank, and compute along one axis."""

    def axis_of(specializer: Specializer, node: NodeProto, at: int) -> int | None:
        return None if at == attributes_of(node).get("axis", default) % len(specializer.shape(node.input[0])) else at

    return axis_of


def softmax(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Along another axis."""
    if specializer.opset < 13:  # all axes from this one on
        return at if at < attributes_of(node).get("axis", 1) else None
    return by_axis(-1)(specializer, node, at)


def arg(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Along another axis."""
    given, rank = attributes_of(node), len(specializer.shape(node.input[0]))
    return _after_reduction(at, [given.get("axis", 0) % rank], given.get("keepdims", 1))


def reduce(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Along other axes."""
    given, rank = attributes_of(node), len(specializer.shape(node.input[0]))
    axes = _axes(specializer, node, rank)
    if axes is None and not given.get("noop_with_empty_axes", 0):
        return None
    return _after_reduction(at, axes or [], given.get("keepdims", 1))


def _after_reduction(at: int, axes: list[int], keepdims: int) -> int | None:
    if at in axes:
        return None
    return at if keepdims else at - sum(axis < at for axis in axes)


def _axes(specializer: Specializer, node: NodeProto, rank: int) -> list[int] | None:
    given = attributes_of(node).get("axes")
    if given is None and len(node.input) > 1 and node.input[1]:
        given = specializer.value(node.input[1])
    return None if given is None or len(given) == 0 else [int(axis) % rank for axis in given]


def squeeze(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of other axes."""
    if node.input[0] in specializer.row_shapes:
        return move_shape(specializer, node, rows)
    shape = specializer.shape(node.input[0])
    axes = _axes(specializer, node, len(shape))
    if axes is None:  # which ones it means depends on whether there is one row
        raise across(specializer, node)
    return keep(specializer, node, rows, _after_reduction(rows.axis, axes, 0))


def unsqueeze(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Axes beside it."""
    if node.input[0] in specializer.row_shapes:
        return move_shape(specializer, node, rows)
    given = attributes_of(node).get("axes")
    given = specializer.value(node.input[1]) if given is None else given
    if given is None:
        raise across(specializer, node)
    rank = len(specializer.shape(node.input[0])) + len(given)
    added = {int(axis) % rank for axis in given}
    kept = [axis for axis in range(rank) if axis not in added]
    return keep(specializer, node, rows, kept[rows.axis])


def batch(_specializer: Specializer, _node: NodeProto, at: int) -> int | None:
    """Rows that are images."""
    return at if at == 0 else None


def regions(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of an image, one for each row."""
    image, *chosen = node.input
    given = [specializer.rows[name].axis if name in specializer.rows else None for name in chosen]
    keep(specializer, node, rows, 0 if image not in specializer.rows and given == [0, 0] else None)


def transpose(specializer: Specializer, node: NodeProto, at: int) -> int:
    """Where the axis goes to."""
    rank = len(specializer.shape(node.input[0]))
    return list(attributes_of(node).get("perm", range(rank)[::-1])).index(at)


def flatten(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Where the axis stays one of its own."""
    shape = specializer.shape(node.input[0])
    axis = attributes_of(node).get("axis", 1) % (len(shape) + 1)
    first, second = shape[:axis], shape[axis:]
    if at < axis:
        return 0 if math.prod(first) == shape[at] else None
    return 1 if math.prod(second) == shape[at] else None


def matmul(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Rows of the left factor, where the right one is the same for all."""
    left, right = (len(specializer.shape(name)) for name in node.input)
    return at if left > 1 and right <= 2 and at < left - 1 else None


def cast(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of each element, or of a shape."""
    if node.input[0] not in specializer.row_shapes:
        return elementwise(specializer, node, rows)
    if attributes_of(node)["to"] not in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
        raise across(specializer, node)
    return move_shape(specializer, node, rows)
