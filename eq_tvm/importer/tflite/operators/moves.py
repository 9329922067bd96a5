"""What moves, selects, joins and makes elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from eq_tvm.importer.tflite.call import Call, Converter
from eq_tvm.importer.tflite.graph import Value
from eq_tvm.importer.tflite.operators.axes import channels_first, moved_axis


def _reshape(call: Call) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS, to the shape that the file has for the result."""
    data, shape = call.value(0), call.result(0).shape
    call.give(call.emit("Reshape", data, np.array(shape, np.int64)), moves=True)


def _transpose(call: Call) -> None:
    call.give(call.emit("Transpose", call.value(0), perm=call.ints(1)), moves=True)


def _concatenate(call: Call) -> None:
    rank = len(call.result(0).shape)
    axis, first = call.option("Axis") % rank, call.is_first()
    values = [value for value in call.values(first=first) if 0 not in value.shape]
    call.give(call.emit("Concat", *values, axis=moved_axis(axis, rank) if first else axis), first=first, moves=True)


def _pack(call: Call) -> None:
    axis = np.array([call.option("Axis") % len(call.result(0).shape)])
    parts = [call.emit("Unsqueeze", value, axis) for value in call.values()]
    call.give(call.emit("Concat", *parts, axis=int(axis[0])), moves=True)


def _unpack(call: Call) -> None:
    axis = call.option("Axis") % len(call.operand(0).shape)
    parts = _parts(call, 0, axis, [1] * len(call.operator.outputs), first=False)
    for position, part in enumerate(parts):
        call.give(call.emit("Squeeze", part, np.array([axis])), position=position, moves=True)


def _split(call: Call) -> None:
    """SPLIT, into equal parts: the axis comes first, then the data."""
    rank = len(call.operand(1).shape)
    axis = call.ints(0)[0] % rank
    count = len(call.operator.outputs)
    _give_parts(call, 1, axis, [call.operand(1).shape[axis] // count] * count)


def _split_by_sizes(call: Call) -> None:
    """SPLIT_V: the data, sizes of the parts (one may be -1), the axis."""
    rank, sizes = len(call.operand(0).shape), call.ints(1)
    axis = call.ints(2)[0] % rank
    rest = call.operand(0).shape[axis] - sum(size for size in sizes if size >= 0)
    _give_parts(call, 0, axis, [size if size >= 0 else rest for size in sizes])


def _slice(call: Call) -> None:
    begin, size = call.ints(1), call.ints(2)
    shape = call.operand(0).shape
    end = [b + s if s >= 0 else extent for b, s, extent in zip(begin, size, shape, strict=True)]
    first = call.is_first_of(0)
    call.give(_sliced(call, begin, end, [1] * len(shape), first), first=first, moves=True)


def _strided_slice(call: Call) -> None:
    """STRIDED_SLICE: bit i of each mask speaks of the i-th entry of begin, end and strides."""
    shape, steps = call.operand(0).shape, []
    begin, end, strides = (call.ints(position) for position in (1, 2, 3))
    begins, ends, ellipsis, new, shrink = (call.option(f"{name}Mask") for name in _MASKS)
    if call.option("Offset"):
        end = [b + e for b, e in zip(begin, end, strict=True)]
    index: list[slice | int | None] = []
    for i, (b, e, step) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << i
        if ellipsis & bit:
            rest = sum(not (new | ellipsis) >> j & 1 for j in range(len(begin)))
            index += [slice(None)] * (len(shape) - rest)
        elif new & bit:
            index.append(None)
        elif shrink & bit:
            index.append(b)
        else:
            index.append(slice(None if begins & bit else b, None if ends & bit else e, step))
        steps.append(step)
    taken: list[slice] = []
    for entry in index:
        if isinstance(entry, int):
            at = entry % shape[len(taken)]
            taken.append(slice(at, at + 1, 1))
        elif entry is not None:
            taken.append(entry)
    taken += [slice(None)] * (len(shape) - len(taken))
    begin, end, strides = _bounds(taken, shape)
    plain = all(isinstance(entry, slice) for entry in index)
    first = plain and call.is_first_of(0)
    result = _sliced(call, begin, end, strides, first)
    if not plain:
        result = call.emit("Reshape", result, np.array(call.result(0).shape, np.int64))
    call.give(result, first=first, moves=True)


def _reverse(call: Call) -> None:
    rank = len(call.operand(0).shape)
    axes = [axis % rank for axis in call.ints(1)]
    begin, end, strides = _bounds(
        [slice(None, None, -1 if i in axes else 1) for i in range(rank)], call.operand(0).shape
    )
    call.give(_sliced(call, begin, end, strides, False), moves=True)


def _gather(call: Call) -> None:
    data, places = call.value(0), call.value(1)
    rank, batch = len(data.shape), call.option("BatchDims")
    axis = call.option("Axis") % rank
    if not batch:
        call.give(call.emit("Gather", data, places, axis=axis), moves=True)
        return
    if batch != axis or len(places.shape) != batch + 1 or batch != rank - 1:
        call.refuse("gathers in batches", "cut the network before it, or convert it without batch_dims")
    call.give(call.emit("GatherElements", data, places, axis=axis), moves=True)


def _gather_nd(call: Call) -> None:
    places = call.emit("Cast", call.value(1), to=TensorProto.INT64)
    call.give(call.emit("GatherND", call.value(0), places), moves=True)


def _tile(call: Call) -> None:
    first, counts = call.is_first_of(0), call.ints(1)
    counts = channels_first(counts) if first else counts
    call.give(call.emit("Tile", call.value(0, first=first), np.array(counts)), first=first, moves=True)


def _broadcast(call: Call) -> None:
    call.give(call.emit("Expand", call.value(0), np.array(call.ints(1))), moves=True)


def _fill(call: Call) -> None:
    call.give(call.emit("Expand", call.value(1), np.array(call.ints(0), np.int64)))


def _shape(call: Call) -> None:
    call.give(call.state.graph.constant(np.array(call.operand(0).shape, call.result(0).dtype)))


def _rank(call: Call) -> None:
    call.give(call.state.graph.constant(np.array(len(call.operand(0).shape), np.int32)))


def _range(call: Call) -> None:
    start, end, step = (call.constant(position).reshape(()) for position in range(3))
    values: np.ndarray = np.arange(start.item(), end.item(), step.item())
    call.give(call.state.graph.constant(values.astype(start.dtype)))


def _one_hot(call: Call) -> None:
    on, off = call.value(2), call.value(3)
    values = call.emit("Concat", *(call.emit("Reshape", each, np.array([1])) for each in (off, on)), axis=0)
    call.give(call.emit("OneHot", call.value(0), np.array(call.ints(1)[0]), values, axis=call.option("Axis", -1)))


MOVES: dict[str, Converter] = {
    "BROADCAST_TO": _broadcast,
    "CONCATENATION": _concatenate,
    "EXPAND_DIMS": _reshape,
    "FILL": _fill,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "ONE_HOT": _one_hot,
    "PACK": _pack,
    "RANGE": _range,
    "RANK": _rank,
    "RESHAPE": _reshape,
    "REVERSE_V2": _reverse,
    "SHAPE": _shape,
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split_by_sizes,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}


def _parts(call: Call, position: int, axis: int, sizes: list[int], first: bool) -> list[Value]:
    value = call.value(position, first=first)
    if len(sizes) == 1:
        return [value]
    at = moved_axis(axis, len(value.shape)) if first else axis
    return call.state.graph.emit_several("Split", value, np.array(sizes), count=len(sizes), name=call.name, axis=at)


def _give_parts(call: Call, data: int, axis: int, sizes: list[int]) -> None:
    first = call.is_first_of(data)
    for position, part in enumerate(_parts(call, data, axis, sizes, first)):
        call.give(part, first=first, position=position, moves=True)


def _bounds(taken: Sequence[slice], shape: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Begin, end and step along each axis, as ONNX counts: an end before the first element is far below 0."""
    found = [entry.indices(extent) for entry, extent in zip(taken, shape, strict=True)]
    ends = [_BEFORE if end < 0 else end for _, end, _ in found]
    return [begin for begin, _, _ in found], ends, [step for _, _, step in found]


def _sliced(call: Call, begin: list[int], end: list[int], steps: list[int], first: bool) -> Value:
    data = call.value(0, first=first)
    if first:
        begin, end, steps = channels_first(begin), channels_first(end), channels_first(steps)
    cut = [i for i, b in enumerate(begin) if (b, steps[i]) != (0, 1) or end[i] < data.shape[i]]
    if not cut:
        return data
    bounds = [np.array([each[i] for i in cut]) for each in (begin, end, range(len(begin)), steps)]
    return call.emit("Slice", data, *bounds)


_BEFORE = -(2**31)
_MASKS = ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
