"""Reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value


def reduced_axes(operation: Operation, rank: int) -> list[int]:
    """The axes that go: all by default, or all others than those given."""
    given = operation.attrs.get("axis")
    axes = list(range(rank)) if given is None else sorted({axis % rank for axis in operation.ints("axis")})
    return [axis for axis in range(rank) if axis not in axes] if operation.get("exclude", False) else axes


def _reduction(operator: str, **attributes: Any) -> Rule:
    def rule(operation: Operation) -> Value:
        return reduce(operation, operator, operation.value(), **attributes)

    return rule


def reduce(operation: Operation, operator: str, data: Value, *, keepdims: bool | None = None) -> Value:
    """One of ONNX's reductions, over the axes that the attributes say."""
    axes = reduced_axes(operation, len(data.shape))
    if not axes:
        return data
    keep = int(bool(operation.get("keepdims", False)) if keepdims is None else keepdims)
    if operator == "ReduceSum":
        return operation.emit(operator, [data, operation.constant(np.array(axes, np.int64))], keepdims=keep)
    return operation.emit(operator, [data], axes=axes, keepdims=keep)


def _mean(operation: Operation) -> Value:
    """The quotient of integers is cut off."""
    data = operation.value()
    real = operation.cast(data, "float32") if "int" in data.dtype else data
    return operation.cast(reduce(operation, "ReduceMean", real), data.dtype)


def _variance(operation: Operation) -> Value:
    """Of the data and its mean, whose axes are kept."""
    data, mean = operation.value(0), operation.value(1)
    if operation.get("unbiased", False):
        raise ValueError("it is unbiased, which only training needs")
    distance = operation.emit("Sub", [data, mean])
    return reduce(operation, "ReduceMean", operation.emit("Mul", [distance, distance]))


def _truth(operator: str) -> Rule:
    """Whether all, or any."""

    def rule(operation: Operation) -> Value:
        numbers = operation.cast(operation.value(), "int32")
        return operation.cast(reduce(operation, operator, numbers), "bool")

    return rule


def _place(operator: str) -> Rule:
    def rule(operation: Operation) -> Value:
        data = operation.value()
        axes = reduced_axes(operation, len(data.shape))
        keep = bool(operation.get("keepdims", False))
        last = int(operation.get("select_last_index", 0))
        if len(axes) == 1:
            found = operation.emit(operator, [data], axis=axes[0], keepdims=int(keep), select_last_index=last)
        else:
            kept = [axis for axis in range(len(data.shape)) if axis not in axes]
            rows = operation.transpose(data, [*kept, *axes])
            rows = operation.reshape(rows, [*(data.shape[axis] for axis in kept), -1])
            found = operation.emit(operator, [rows], axis=len(kept), keepdims=0, select_last_index=last)
            if keep:
                found = operation.reshape(found, [1 if i in axes else size for i, size in enumerate(data.shape)])
        return operation.cast(found, "int32")

    return rule


def _running(operation: Operation) -> Value:
    """A sum of all up to each."""
    data = operation.value()
    dtype = operation.get("dtype", "") or data.dtype
    if operation.attrs.get("axis") is None:
        data, axis = operation.reshape(data, [-1]), 0
    else:
        axis = operation.ints("axis")[0]
    place = operation.constant(np.array(axis, np.int64))
    return operation.emit("CumSum", [operation.cast(data, dtype), place], exclusive=int(operation.get("exclusive", 0)))


RULES: dict[str, Rule] = {
    "sum": _reduction("ReduceSum"),
    "max": _reduction("ReduceMax"),
    "min": _reduction("ReduceMin"),
    "prod": _reduction("ReduceProd"),
    "logsumexp": _reduction("ReduceLogSumExp"),
    "cumsum": _running,
    "mean": _mean,
    "variance": _variance,
    "all": _truth("ReduceMin"),
    "any": _truth("ReduceMax"),
    "argmax": _place("ArgMax"),
    "argmin": _place("ArgMin"),
}
