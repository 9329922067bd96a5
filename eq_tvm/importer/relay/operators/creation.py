"""Operators that make tensors of nothing but a shape; constants, as shapes are static."""

from __future__ import annotations

import numpy as np

from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value


def _shape(operation: Operation, index: int) -> list[int]:
    if operation.attrs.get("shape") is not None:
        return operation.ints("shape")
    return [int(size) for size in operation.array(index).reshape(-1)]


def _filled(fill: int) -> Rule:
    def rule(operation: Operation) -> Value:
        dtype = operation.get("dtype", "") or "float32"
        return operation.constant(np.full(_shape(operation, 0), fill, dtype))

    return rule


def _like(fill: int) -> Rule:
    def rule(operation: Operation) -> Value:
        data = operation.value()
        return operation.constant(np.full(data.shape, fill, data.dtype))

    return rule


def _full(operation: Operation) -> Value:
    fill = operation.array(0)
    return operation.constant(np.full(_shape(operation, 1), fill.item(), operation.get("dtype", "") or fill.dtype))


def _full_like(operation: Operation) -> Value:
    data = operation.value()
    return operation.constant(np.full(data.shape, operation.array(1).item(), data.dtype))


def _arange(operation: Operation) -> Value:
    start, stop, step = (float(operation.array(i)) for i in range(3))
    return operation.constant(np.arange(start, stop, step).astype(operation.get("dtype", "") or "float32"))


def _shape_of(operation: Operation) -> Value:
    return operation.constant(np.array(operation.value().shape, operation.get("dtype", "") or "int32"))


def _size(operation: Operation) -> Value:
    return operation.constant(np.array(np.prod(operation.value().shape), operation.get("dtype", "") or "int32"))


RULES: dict[str, Rule] = {
    "zeros": _filled(0),
    "ones": _filled(1),
    "dyn.zeros": _filled(0),
    "dyn.ones": _filled(1),
    "zeros_like": _like(0),
    "ones_like": _like(1),
    "full": _full,
    "dyn.full": _full,
    "full_like": _full_like,
    "arange": _arange,
    "shape_of": _shape_of,
    "ndarray_size": _size,
}
