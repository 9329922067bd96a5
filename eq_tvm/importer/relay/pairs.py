"""Quantize/dequantize pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eq_tvm.importer.relay.operation import Operation
from eq_tvm.importer.relay.values import Quantization, Value


def dequantized(operation: Operation, value: Value, quantization: Quantization) -> Value:
    """The real numbers that integers stand for; written once for each value."""
    scale, zero = quantization.scale, np.asarray(quantization.zero_point)
    key = (value.name, np.asarray(scale).tobytes(), zero.tobytes(), quantization.axis)
    found = operation.writer.dequantized.get(key)
    if found is None:
        operands = [value, operation.constant(np.asarray(scale, np.float32))]
        if value.dtype != "int32":
            points = np.broadcast_to(zero.reshape(-1) if zero.size > 1 else zero.reshape(()), np.shape(scale))
            operands.append(operation.constant(points.astype(value.dtype)))
        elif zero.any():
            operands[0] = operation.beside("Sub", [value, operation.constant(zero.astype(np.int32))])
        attributes = {"axis": quantization.axis % max(len(value.shape), 1)} if np.size(scale) > 1 else {}
        found = operation.beside("DequantizeLinear", operands, **attributes)
        operation.writer.dequantized[key] = found
    return found


def quantize(operation: Operation, value: Value, quantization: Quantization, dtype: str) -> Value:
    """Integers that stand for real numbers.

    Raises
    ------
    ValueError
        A dtype that Relay does not quantize to.
    """
    if dtype == "int32":
        return _wide(operation, value, quantization)
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"it quantizes to {dtype}; ONNX has int8 and uint8")
    scale, zero = np.asarray(quantization.scale, np.float32), np.asarray(quantization.zero_point)
    if not np.array_equal(zero.astype(dtype), zero):
        raise ValueError(f"its zero point {zero.tolist()} is none of {dtype}")
    points = np.broadcast_to(zero.reshape(-1) if zero.size > 1 else zero.reshape(()), scale.shape)
    attributes = {"axis": quantization.axis % max(len(value.shape), 1)} if scale.size > 1 else {}
    result = operation.emit(
        "QuantizeLinear", [value, operation.constant(scale), operation.constant(points.astype(dtype))], **attributes
    )
    return replace(result, quantization=quantization)


def same(one: Quantization | None, other: Quantization | None) -> bool:
    """Whether integers stand for the same real numbers."""
    return (
        one is not None
        and other is not None
        and np.array_equal(one.scale, other.scale)
        and np.array_equal(one.zero_point, other.zero_point)
    )


def _wide(operation: Operation, value: Value, quantization: Quantization) -> Value:
    """Integers of 32 bits, which ONNX does not quantize to."""
    if np.size(quantization.scale) > 1:
        raise ValueError("it quantizes to int32 by several scales; requantize to 8 bits at once")
    scaled = operation.emit("Div", [value, operation.constant(np.asarray(quantization.scale, np.float32))])
    zero = operation.constant(np.asarray(quantization.zero_point, np.float32))
    integers = operation.cast(operation.emit("Add", [operation.emit("Round", [scaled]), zero]), "int32")
    return replace(integers, quantization=quantization, real=value)
