"""Operators that move elements: shapes, orders, paddings, copies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eq_tvm.importer.relay.layouts import convert_layout
from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value


def new_shape(shape: Sequence[int], codes: Sequence[int], *, allow_zero: bool = False) -> list[int]:
    """What Relay's reshape makes of a shape.

    Parameters
    ----------
    shape : sequence of int
    codes : sequence of int
        Extents, or 0: the extent at this place; -1: what is left over; -2: all extents that follow; -3: the product of
        two; -4: one extent, split into the two numbers that follow, one of which may be -1.
    allow_zero : bool
        0 is an extent.

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        Codes that do not fit the shape.
    """
    rest, result, unknown = list(shape), [], None
    codes = list(codes)
    try:
        while codes:
            code = codes.pop(0)
            if code > 0 or (code == 0 and allow_zero):
                result.append(code)
                del rest[:1]
            elif code == 0:
                result.append(rest.pop(0))
            elif code == -1:
                unknown = len(result) if unknown is None else int("two -1")
                result.append(1)
                del rest[:1]
            elif code == -2:
                result += rest
                rest = []
            elif code == -3:
                result.append(rest.pop(0) * rest.pop(0))
            elif code == -4:
                result += _halves(rest.pop(0), codes.pop(0), codes.pop(0))
            else:
                raise ValueError
        if unknown is not None:
            result[unknown] = math.prod(shape) // math.prod(result)
        if math.prod(result) != math.prod(shape):
            raise ValueError
    except (IndexError, ValueError, ZeroDivisionError):
        raise ValueError(f"its newshape does not fit a tensor {tuple(shape)}") from None
    return result


def _halves(extent: int, left: int, right: int) -> list[int]:
    if left == -1:
        left = extent // right
    if right == -1:
        right = extent // left
    if left * right != extent:
        raise ValueError
    return [left, right]


def _reshape(operation: Operation) -> Value:
    data = operation.value()
    codes = operation.ints("newshape")
    if operation.get("reverse", 0):
        raise ValueError("it reads its newshape in reverse; save the module with the shape itself")
    return operation.reshape(data, new_shape(data.shape, codes, allow_zero=bool(operation.get("allowzero", 0))))


def _reshape_to_constant(operation: Operation) -> Value:
    data = operation.value()
    return operation.reshape(data, new_shape(data.shape, operation.array(1).reshape(-1).tolist()))


def _reshape_like(operation: Operation) -> Value:
    data, like = operation.value(0), operation.value(1)
    begin, end = _range(operation, "lhs", len(data.shape))
    other_begin, other_end = _range(operation, "rhs", len(like.shape))
    return operation.reshape(data, [*data.shape[:begin], *like.shape[other_begin:other_end], *data.shape[end:]])


def _range(operation: Operation, side: str, rank: int) -> tuple[int, int]:
    begin, end = operation.get(f"{side}_begin", 0), operation.get(f"{side}_end", rank)
    return (begin + rank if begin < 0 else begin), (end + rank if end < 0 else end)


def _flatten(operation: Operation) -> Value:
    data = operation.value()
    return operation.reshape(data, [data.shape[0], math.prod(data.shape[1:])])


def _transpose(operation: Operation) -> Value:
    data = operation.value()
    rank = len(data.shape)
    axes = operation.ints("axes", []) or list(reversed(range(rank)))
    return operation.transpose(data, [axis % rank for axis in axes])


def _squeeze(operation: Operation) -> Value:
    data = operation.value()
    rank = len(data.shape)
    if operation.attrs.get("axis") is None:
        return operation.reshape(data, [size for size in data.shape if size != 1])
    gone = {axis % rank for axis in operation.ints("axis")}
    if any(data.shape[axis] != 1 for axis in gone):
        raise ValueError(f"it squeezes the axes {sorted(gone)} of a tensor {data.shape}")
    return operation.reshape(data, [size for axis, size in enumerate(data.shape) if axis not in gone])


def _expand_dims(operation: Operation) -> Value:
    data, axis = operation.value(), int(operation.get("axis", 0))
    axis = axis + len(data.shape) + 1 if axis < 0 else axis
    added = [1] * int(operation.get("num_newaxis", 1))
    return operation.reshape(data, [*data.shape[:axis], *added, *data.shape[axis:]])


def _layout_transform(operation: Operation) -> Value:
    source, target = (operation.get(name, "") for name in ("src_layout", "dst_layout"))
    return convert_layout(operation, operation.value(), source, target)


def _pad(operation: Operation) -> Value:
    data = operation.value()
    widths = operation.attrs.get("pad_width") or []
    if len(widths) != len(data.shape):
        raise ValueError(f"its pad_width has {len(widths)} pairs for a tensor {data.shape}")
    mode = operation.get("pad_mode", operation.get("mode", "constant").lower())
    if mode not in ("constant", "edge", "reflect"):
        raise ValueError(f"its mode is {mode}; ONNX has constant, edge and reflect")
    amounts = operation.constant(np.array([width[side] for side in (0, 1) for width in widths], np.int64))
    if mode != "constant":
        return operation.emit("Pad", [data, amounts], mode=mode)
    fill = operation.array(1).item() if len(operation.args) > 1 else operation.get("pad_value", 0)
    return operation.emit("Pad", [data, amounts, operation.constant(np.array(fill, data.dtype))])


def _mirror_pad(operation: Operation) -> Value:
    if operation.get("mode", "SYMMETRIC") != "REFLECT":
        raise ValueError("it mirrors the border as well (SYMMETRIC); ONNX has only REFLECT")
    return _pad(operation)


def _tile(operation: Operation) -> Value:
    data, repeats = operation.value(), operation.ints("reps")
    rank = max(len(repeats), len(data.shape))
    data = operation.reshape(data, [*[1] * (rank - len(data.shape)), *data.shape])
    return operation.emit("Tile", [data, operation.constant(np.array([1] * (rank - len(repeats)) + repeats, np.int64))])


def _repeat(operation: Operation) -> Value:
    """Each element several times: along a new axis behind its own."""
    data, times = operation.value(), operation.ints("repeats")[0]
    if operation.attrs.get("axis") is None:
        data, axis = operation.reshape(data, [math.prod(data.shape)]), 0
    else:
        axis = operation.ints("axis")[0] % len(data.shape)
    shape = list(data.shape)
    wide = operation.reshape(data, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
    sizes = operation.constant(np.array([*shape[: axis + 1], times, *shape[axis + 1 :]], np.int64))
    shape[axis] *= times
    return operation.reshape(operation.emit("Expand", [wide, sizes]), shape)


def _broadcast(operation: Operation, shape: Sequence[int]) -> Value:
    data = operation.value()
    if tuple(shape) == data.shape:
        return data
    return operation.emit("Expand", [data, operation.constant(np.array(shape, np.int64))])


def _broadcast_to(operation: Operation) -> Value:
    shape = operation.ints("shape") if operation.attrs.get("shape") is not None else operation.array(1).tolist()
    return _broadcast(operation, [int(size) for size in shape])


def _reverse(operation: Operation) -> Value:
    data, axis = operation.value(), operation.ints("axis")[0]
    ends = (np.array([value], np.int64) for value in (-1, np.iinfo(np.int64).min, axis, -1))
    return operation.emit("Slice", [data, *map(operation.constant, ends)])


def _blocks(operator: str) -> Rule:
    """depth_to_space and space_to_depth."""

    def rule(operation: Operation) -> Value:
        layout = operation.get("layout", "NCHW")
        data = convert_layout(operation, operation.value(), layout, "NCHW")
        attributes = {"mode": operation.get("mode", "DCR")} if operator == "DepthToSpace" else {}
        result = operation.emit(operator, [data], blocksize=int(operation.get("block_size", 1)), **attributes)
        return convert_layout(operation, result, "NCHW", layout)

    return rule


def _space_to_batch(operation: Operation) -> Value:
    """Blocks of the axes behind the first become images."""
    data, blocks = operation.value(), operation.ints("block_shape")
    widths = operation.get("paddings", [])
    begins, ends = ([0, *(int(width[side]) for width in widths)] for side in (0, 1))
    rest = [0] * (len(data.shape) - len(begins))
    if any(begins) or any(ends):
        amounts = operation.constant(np.array([*begins, *rest, *ends, *rest], np.int64))
        fill = operation.constant(np.array(operation.get("pad_value", 0), data.dtype))
        data = operation.emit("Pad", [data, amounts, fill])
    count, shape = len(blocks), data.shape
    for size, block in zip(shape[1:], blocks, strict=False):
        if size % block:
            raise ValueError(f"{size} can't be cut into blocks of {block}")
    cut = [part for size, block in zip(shape[1:], blocks, strict=False) for part in (size // block, block)]
    parts = operation.reshape(data, [shape[0], *cut, *shape[1 + count :]])
    inner, outer = [2 + 2 * i for i in range(count)], [1 + 2 * i for i in range(count)]
    moved = operation.transpose(parts, [*inner, 0, *outer, *range(1 + 2 * count, len(parts.shape))])
    return operation.reshape(moved, [shape[0] * math.prod(blocks), *cut[::2], *shape[1 + count :]])


def _batch_to_space(operation: Operation) -> Value:
    data, blocks = operation.value(), operation.ints("block_shape")
    count, shape = len(blocks), data.shape
    images = shape[0] // math.prod(blocks)
    parts = operation.reshape(data, [*blocks, images, *shape[1:]])
    order = [count, *(axis for i in range(count) for axis in (count + 1 + i, i))]
    moved = operation.transpose(parts, [*order, *range(2 * count + 1, len(parts.shape))])
    whole = [size * block for size, block in zip(shape[1:], blocks, strict=False)]
    data = operation.reshape(moved, [images, *whole, *shape[1 + count :]])
    crops = operation.get("crops", [])
    if not any(map(any, crops)):
        return data
    begins, axes = [int(crop[0]) for crop in crops], list(range(1, 1 + count))
    ends = [size - int(crop[1]) for size, crop in zip(whole, crops, strict=True)]
    return operation.emit("Slice", [data, *(operation.constant(np.array(p, np.int64)) for p in (begins, ends, axes))])


RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "dyn.reshape": _reshape_to_constant,
    "reshape_like": _reshape_like,
    "nn.batch_flatten": _flatten,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "expand_dims": _expand_dims,
    "layout_transform": _layout_transform,
    "nn.pad": _pad,
    "nn.mirror_pad": _mirror_pad,
    "tile": _tile,
    "repeat": _repeat,
    "reverse": _reverse,
    "broadcast_to": _broadcast_to,
    "dyn.broadcast_to": _broadcast_to,
    "broadcast_to_like": lambda operation: _broadcast(operation, operation.value(1).shape),
    "nn.space_to_batch_nd": _space_to_batch,
    "nn.batch_to_space_nd": _batch_to_space,
    "nn.depth_to_space": _blocks("DepthToSpace"),
    "nn.space_to_depth": _blocks("SpaceToDepth"),
}
