"""Operators that join tensors, or take parts of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value


def _concatenate(operation: Operation) -> Value:
    values = operation.values()
    return operation.emit("Concat", values, axis=int(operation.get("axis", 0)))


def _stack(operation: Operation) -> Value:
    values = operation.values()
    rank = len(values[0].shape)
    axis = operation.ints("axis", [0])[0] % (rank + 1)
    wide = [operation.reshape(value, [*value.shape[:axis], 1, *value.shape[axis:]]) for value in values]
    return operation.emit("Concat", wide, axis=axis)


def _split(operation: Operation) -> tuple[Value, ...]:
    data, axis = operation.value(), int(operation.get("axis", 0))
    size = data.shape[axis]
    parts = operation.get("indices_or_sections", 1)
    if isinstance(parts, (list, tuple)):
        ends = [0, *(int(part) for part in parts), size]
        sizes = [end - begin for begin, end in pairwise(ends)]
    else:
        sizes = [size // int(parts)] * int(parts)
    if sum(sizes) != size or min(sizes) < 0:
        raise ValueError(f"it can't split {size} into {parts}")
    lengths = operation.constant(np.array(sizes, np.int64))
    return tuple(
        operation.writer.emit_several(operation.name, "Split", [data, lengths], len(sizes), axis=axis % len(data.shape))
    )


def _strided_slice(operation: Operation) -> Value:
    data = operation.value()
    given = [operation.array(i).reshape(-1).tolist() for i in range(1, len(operation.args))]  # before 0.8, arguments
    begin, end, strides = (
        given[i] if i < len(given) else operation.ints(name, []) for i, name in enumerate(("begin", "end", "strides"))
    )
    axes = operation.ints("axes", []) or list(range(len(begin)))
    strides = strides or [1]
    strides = strides * len(begin) if len(strides) == 1 else strides + [1] * (len(begin) - len(strides))
    if operation.get("slice_mode", "end") == "size":
        sizes = [data.shape[axis] for axis in axes]
        end = [size if e < 0 else b + e for b, e, size in zip(begin, end, sizes, strict=True)]
        strides = [1] * len(begin)
    missing = len(begin) - len(end)
    end = [*end, *(data.shape[axis] for axis in axes[len(end) :])] if missing > 0 else end
    parts = [operation.constant(np.array(part, np.int64)) for part in (begin, end, axes, strides)]
    return operation.emit("Slice", [data, *parts])


def _slice_like(operation: Operation) -> Value:
    data, like = operation.value(0), operation.value(1)
    axes = operation.ints("axes", []) or list(range(len(data.shape)))
    parts = ([0] * len(axes), [like.shape[axis] for axis in axes], [axis % len(data.shape) for axis in axes])
    return operation.emit("Slice", [data, *(operation.constant(np.array(part, np.int64)) for part in parts)])


def _take(operation: Operation) -> Value:
    """Indices beyond the ends are clipped, or counted around."""
    data, indices = operation.value(0), operation.value(1)
    if operation.get("batch_dims", 0):
        raise ValueError("it takes for each batch by itself (batch_dims); use gather or gather_nd")
    if operation.attrs.get("axis") is None:
        data, axis = operation.reshape(data, [-1]), 0
    else:
        axis = operation.ints("axis")[0] % len(data.shape)
    size, mode = data.shape[axis], operation.get("mode", "clip")
    indices = operation.cast(indices, indices.dtype if indices.dtype in ("int32", "int64") else "int64")
    numbers = [operation.constant(np.array(value, indices.dtype)) for value in (0, size - 1, size)]
    known = indices.array is not None and indices.array.size and indices.array.min() >= 0 and indices.array.max() < size
    if mode == "clip" and not known:
        indices = operation.emit("Clip", [indices, *numbers[:2]])
    elif mode == "wrap" and not known:
        indices = operation.emit("Mod", [indices, numbers[2]])
    return operation.emit("Gather", [data, indices], axis=axis)


def _gather(operation: Operation) -> Value:
    axis = operation.ints("axis", [0])[0]
    return operation.emit("GatherElements", [operation.value(0), operation.value(1)], axis=axis)


def _gather_nd(operation: Operation) -> Value:
    """Relay has the parts of an index along the first axis, ONNX along the last."""
    indices = operation.value(1)
    order = [*range(1, len(indices.shape)), 0]
    indices = operation.cast(operation.transpose(indices, order), "int64")
    return operation.emit("GatherND", [operation.value(0), indices], batch_dims=operation.ints("batch_dims", [0])[0])


def _one_hot(operation: Operation) -> Value:
    indices, on, off = (operation.value(i) for i in range(3))
    indices = operation.cast(indices, "int64")
    depth = operation.constant(np.array(operation.get("depth", 1), np.int64))
    pair = operation.emit("Concat", [operation.reshape(off, [1]), operation.reshape(on, [1])], axis=0)
    result = operation.emit("OneHot", [indices, depth, pair], axis=int(operation.get("axis", -1)))
    dtype = operation.get("dtype", "")
    return operation.cast(result, dtype) if dtype else result


def _top_k(operation: Operation) -> Value | tuple[Value, ...]:
    data, axis = operation.value(), int(operation.get("axis", -1))
    count = operation.ints("k", [1])[0]
    count = count if count > 0 else data.shape[axis]
    largest = int(not operation.get("is_ascend", False))
    k = operation.constant(np.array([count], np.int64))
    values, places = operation.writer.emit_several(operation.name, "TopK", [data, k], 2, axis=axis, largest=largest)
    places = operation.cast(places, operation.get("dtype", "") or "int32")
    kind = operation.get("ret_type", "both")
    return {"values": values, "indices": places}.get(kind, (values, places))


def _order(operation: Operation) -> Value:
    """Places of the elements, in the order of these."""
    data, axis = operation.value(), int(operation.get("axis", -1))
    k = operation.constant(np.array([data.shape[axis]], np.int64))
    largest = int(not operation.get("is_ascend", True))
    _, places = operation.writer.emit_several(operation.name, "TopK", [data, k], 2, axis=axis, largest=largest)
    return operation.cast(places, operation.get("dtype", "") or "int32")


RULES: dict[str, Rule] = {
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "strided_slice": _strided_slice,
    "dyn.strided_slice": _strided_slice,
    "slice_like": _slice_like,
    "take": _take,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "one_hot": _one_hot,
    "topk": _top_k,
    "argsort": _order,
}
