"""Rules of operators on the rows themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of, copy_of
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.rows.masking import beside, dtype_of, masked
from eq_tvm.importer.static.rows.rule import across, keep
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
    divisor = node.input[-1]
    if node.op_type in ("Div", "Mod") and divisor in specializer.rows and dtype_of(specializer, divisor).kind in "iu":
        node = copy_of(node, [*node.input[:-1], masked(specializer, divisor, 1)])  # processors do not divide by 0
    keep(specializer, node, rows, axis)


def gather(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """At indices that have rows, of these or others, or of rows along another axis."""
    data, indices = node.input
    axis, rank = attributes_of(node).get("axis", 0), len(specializer.shape(data))
    axis %= rank
    if data not in specializer.rows:
        return keep(specializer, node, rows, axis + rows.axis)
    at = specializer.rows[data].axis
    if at == axis and indices in specializer.rows:
        found = specializer.rows[indices]
        place = from_the_first(specializer, indices, specializer.rows[data].count)
        return keep(specializer, copy_of(node, [data, place]), found, axis + found.axis)
    if indices in specializer.rows or at == axis:
        raise across(specializer, node)
    return keep(specializer, node, rows, at if at < axis else at - 1 + len(specializer.shape(indices)))


def from_the_first(specializer: Specializer, indices: str, count: str) -> str:
    """Indices of rows, none of them from behind: the last row is not the last one that there can be."""
    if indices in specializer.places:
        return indices
    kind = dtype_of(specializer, indices)
    zero = specializer.constant(np.array(0, kind))
    if kind != np.int64:
        count = specializer.call("Cast", count, to=helper.np_dtype_to_tensor_dtype(kind))
    behind = beside(specializer, "Less", indices, zero)
    return beside(specializer, "Where", behind, beside(specializer, "Add", indices, count), indices)


def gather_nd(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """At indices that have rows, of these or others."""
    data, indices = node.input
    if indices not in specializer.rows:
        raise across(specializer, node)
    found, (*ahead, indexed) = specializer.rows[indices], specializer.shape(indices)
    fits = found.axis < len(ahead) and not attributes_of(node).get("batch_dims", 0)
    if data in specializer.rows:
        fits = fits and specializer.rows[data].axis < indexed and indices in specializer.places
    if indices not in specializer.places:  # what is computed for rows that there are not may be out of bounds
        node = copy_of(node, [data, masked(specializer, indices, 0)])
    keep(specializer, node, found, found.axis if fits else None)


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
    return after_reduction(at, [given.get("axis", 0) % rank], given.get("keepdims", 1))


def after_reduction(at: int, axes: list[int], keepdims: int) -> int | None:
    """Where an axis is after a reduction along others."""
    if at in axes:
        return None
    return at if keepdims else at - sum(axis < at for axis in axes)


def axes_of(specializer: Specializer, node: NodeProto, rank: int) -> list[int] | None:
    """Axes of a reduction and the like; None where it has none."""
    given = attributes_of(node).get("axes")
    if given is None and len(node.input) > 1 and node.input[1]:
        given = specializer.value(node.input[1])
    return None if given is None or len(given) == 0 else [int(axis) % rank for axis in given]


def squeeze(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Of other axes."""
    shape = specializer.shape(node.input[0])
    axes = axes_of(specializer, node, len(shape))
    if axes is None:  # which ones it means depends on whether there is one row
        raise across(specializer, node)
    return keep(specializer, node, rows, after_reduction(rows.axis, axes, 0))


def unsqueeze(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Axes beside it."""
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
    if image in specializer.rows or given != [0, 0]:
        raise across(specializer, node)
    # Of a region that there is not, any size may come, and with it any number of samples
    keep(specializer, copy_of(node, [image, *(masked(specializer, name, 0) for name in chosen)]), rows, 0)


def transpose(specializer: Specializer, node: NodeProto, at: int) -> int:
    """Where the axis goes to."""
    rank = len(specializer.shape(node.input[0]))
    return list(attributes_of(node).get("perm", range(rank)[::-1])).index(at)


def matmul(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Rows of the left factor, where the right one is the same for all."""
    left, right = (len(specializer.shape(name)) for name in node.input)
    return at if left > 1 and right <= 2 and at < left - 1 else None


def gemm(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Rows of the left factor, where the bias is the same for all."""
    given, bias = attributes_of(node), [name for name in node.input[2:] if name]
    extents = [specializer.shape(name)[0] for name in bias if len(specializer.shape(name)) == 2]
    return 0 if at == (1 if given.get("transA", 0) else 0) and extents in ([], [1]) else None


def pad(specializer: Specializer, node: NodeProto, at: int) -> int | None:
    """Other axes."""
    rank, given = len(specializer.shape(node.input[0])), attributes_of(node)
    pads = given.get("pads", specializer.value(node.input[1]) if len(node.input) > 1 else None)
    if pads is None or len(pads) != 2 * rank:
        return None
    return None if pads[at] or pads[rank + at] else at
