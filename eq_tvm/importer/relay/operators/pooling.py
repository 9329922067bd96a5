"""Poolings, in any layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from eq_tvm.importer.relay.layouts import convert_layout, parse_layout
from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.operators.convolution import pads
from eq_tvm.importer.relay.values import Value

_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def _in_plain(rank: int, pool: Any) -> Rule:
    """Pool channels first, of floats."""

    def rule(operation: Operation) -> Value:
        layout = operation.get("layout", _LAYOUTS[rank])
        data = operation.value()
        kept = _plain(layout, rank)
        value = convert_layout(operation, data, layout, kept)
        result = pool(operation, value)
        return convert_layout(operation, result, kept, operation.get("out_layout", "") or layout)

    return rule


def _plain(layout: str, rank: int) -> str:
    """Channels first, whatever the order of the other axes is called."""
    letters = {axis.letter for axis in parse_layout(layout)}
    plain = _LAYOUTS[rank]
    return plain if letters == set(plain) else layout


def _window(operation: Operation, data: Value, rank: int) -> dict[str, Any]:
    kernel = operation.ints("pool_size")
    strides = operation.ints("strides", [1] * rank)
    dilations = operation.ints("dilation", [1] * rank)
    padding = pads(operation.ints("padding", [0] * rank), rank)
    if operation.get("ceil_mode", 0):
        for i, size in enumerate(data.shape[2:]):
            window = dilations[i] * (kernel[i] - 1) + 1
            begin, end = padding[i], padding[i + rank]
            count = (size + begin + end - window + strides[i] - 1) // strides[i] + 1
            padding[i + rank] = max((count - 1) * strides[i] + window - size - begin, 0)
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": padding}
    return {**attributes, "dilations": dilations} if set(dilations) != {1} else attributes


def _max_pool(rank: int) -> Rule:
    def pool(operation: Operation, data: Value) -> Value:
        return operation.emit("MaxPool", [data], **_window(operation, data, rank))

    return _in_plain(rank, pool)


def _average_pool(rank: int) -> Rule:
    def pool(operation: Operation, data: Value) -> Value:
        attributes = _window(operation, data, rank)
        if "dilations" in attributes:
            raise ValueError("it averages with dilation, which ONNX's operator set 17 does not; leave it out")
        include = int(bool(operation.get("count_include_pad", 0)))
        real = _floats(operation, data)
        if include and operation.get("ceil_mode", 0):  # what the last windows reach beyond the padding does not count
            real, include = _padded(operation, real, rank), 0
            given = pads(operation.ints("padding", [0] * rank), rank)
            rest = [max(pad - done, 0) for pad, done in zip(attributes["pads"], given, strict=True)]
            attributes["pads"] = [0] * rank + rest[rank:]
        result = operation.emit("AveragePool", [real], count_include_pad=include, **attributes)
        return operation.cast(result, data.dtype)

    return _in_plain(rank, pool)


def _padded(operation: Operation, data: Value, rank: int) -> Value:
    given = pads(operation.ints("padding", [0] * rank), rank)
    amounts = operation.constant(np.array([0, 0, *given[:rank], 0, 0, *given[rank:]], np.int64))
    return operation.emit("Pad", [data, amounts])


def _floats(operation: Operation, data: Value) -> Value:
    """What averages read: ONNX averages floats only; the quotient of integers is cut off, as in Relay."""
    return operation.cast(data, "float32") if "int" in data.dtype else data


def _global_pool(operator: str) -> Rule:
    def pool(operation: Operation, data: Value) -> Value:
        real = _floats(operation, data) if operator == "GlobalAveragePool" else data
        return operation.cast(operation.emit(operator, [real]), data.dtype)

    return _in_plain(2, pool)


def _adaptive_pool(rank: int, kind: str) -> Rule:
    def pool(operation: Operation, data: Value) -> Value:
        space = list(data.shape[2:])
        wanted = operation.ints("output_size", []) or space
        wanted = wanted * rank if len(wanted) == 1 else wanted
        if set(wanted) == {1}:
            return operation.emit(f"Global{kind}Pool", [data])
        if any(size % count for size, count in zip(space, wanted, strict=True)):
            if kind == "Average" and rank == 2:
                return _uneven_averages(operation, data, wanted)
            raise ValueError(f"it pools {space} to {wanted}, with windows of several sizes; pool to a divisor")
        kernel = [size // count for size, count in zip(space, wanted, strict=True)]
        return operation.emit(f"{kind}Pool", [data], kernel_shape=kernel, strides=kernel)

    return _in_plain(rank, pool)


def _uneven_averages(operation: Operation, data: Value, wanted: list[int]) -> Value:
    """Windows of several sizes, as products with a matrix for each axis."""
    rows, columns = (
        operation.constant(_averages(size, count).astype(data.dtype))
        for size, count in zip(data.shape[2:], wanted, strict=True)
    )
    across = operation.emit("MatMul", [data, operation.transpose(columns, [1, 0])])
    return operation.emit("MatMul", [rows, across])


def _averages(size: int, count: int) -> np.ndarray:
    """The matrix (count, size) that averages the elements of each window."""
    matrix = np.zeros((count, size))
    for row in range(count):
        begin, end = row * size // count, -(-(row + 1) * size // count)
        matrix[row, begin:end] = 1 / (end - begin)
    return matrix


RULES: dict[str, Rule] = {
    **{f"nn.max_pool{rank}d": _max_pool(rank) for rank in _LAYOUTS},
    **{f"nn.avg_pool{rank}d": _average_pool(rank) for rank in _LAYOUTS},
    **{f"nn.adaptive_max_pool{rank}d": _adaptive_pool(rank, "Max") for rank in _LAYOUTS},
    **{f"nn.adaptive_avg_pool{rank}d": _adaptive_pool(rank, "Average") for rank in _LAYOUTS},
    **{f"contrib.adaptive_{kind}_pool2d": _adaptive_pool(2, k) for kind, k in (("max", "Max"), ("avg", "Average"))},
    "nn.global_max_pool2d": _global_pool("GlobalMaxPool"),
    "nn.global_avg_pool2d": _global_pool("GlobalAveragePool"),
}
