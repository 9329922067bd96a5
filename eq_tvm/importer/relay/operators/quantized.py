"""The dialect qnn, as quantize/dequantize pairs around operators on real numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from eq_tvm.importer.relay.accumulator import real_sums
from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.operators.convolution import Convolution
from eq_tvm.importer.relay.operators.products import product, turned_in_batches
from eq_tvm.importer.relay.pairs import dequantized, quantize, same
from eq_tvm.importer.relay.values import Accumulator, Quantization, Value


def _quantization(operation: Operation, scale: int, zero: int, axis: int = -1) -> Quantization:
    """Of two arguments, by their places."""
    return Quantization(_compact(operation.array(scale).astype(np.float32)), _compact(operation.array(zero)), axis)


def _compact(array: np.ndarray) -> np.ndarray:
    """One number as a scalar, several as a vector."""
    return array.reshape(()) if array.size == 1 else array.reshape(-1)


def _quantize(operation: Operation) -> Value:
    quantization = _quantization(operation, 1, 2, int(operation.get("axis", -1)))
    return quantize(operation, operation.value(), quantization, operation.get("out_dtype", "int8"))


def _dequantize(operation: Operation) -> Value:
    return real(operation, 0, _quantization(operation, 1, 2, int(operation.get("axis", -1))))


def _requantize(operation: Operation) -> Value:
    axis = int(operation.get("axis", -1))
    value = real(operation, 0, _quantization(operation, 1, 2, axis))
    return quantize(operation, value, _quantization(operation, 3, 4, axis), operation.get("out_dtype", "") or "int8")


def real(operation: Operation, index: int, quantization: Quantization) -> Value:
    """An argument's real numbers."""
    value = operation.value(index)
    if value.accumulator is not None:
        zero = np.asarray(quantization.zero_point)
        layer = value.accumulator.plus(-zero) if zero.any() else value.accumulator
        return real_sums(operation, layer, quantization.scale)
    if value.real is not None and same(value.quantization, quantization):
        return value.real
    return dequantized(operation, value, quantization)


def _convolution(*, transposed: bool) -> Rule:
    def rule(operation: Operation) -> Value:
        layer = Convolution(operation, 2, transposed=transposed)
        if transposed and layer.groups > 1 and operation.array(5).size > 1:
            raise ValueError("it has groups and a scale for each channel, which ONNX can't say of a transposed one")
        accumulator = Accumulator(
            data=layer.data,
            data_zero=_compact(operation.array(2)),
            data_scale=float(_single(operation, 4)),
            weight=layer.weight,
            weight_zero=_compact(operation.array(3)),
            weight_axis=1 if transposed else 0,
            axis=layer.axis,
            channels=layer.channels,
            written=layer.written,
        )
        return Value("", layer.shape, "int32", accumulator=accumulator)

    return rule


def _dense(operation: Operation) -> Value:
    data, weight = operation.value(0), operation.value(1)

    def written(left: Value, right: Value, bias: Value | None) -> Value:
        if bias is not None and len(left.shape) == 2:
            return operation.emit("Gemm", [left, right, bias], transB=1)
        result = product(operation, left, right, False, True)
        return result if bias is None else operation.emit("Add", [result, bias])

    accumulator = Accumulator(
        data=data,
        data_zero=_compact(operation.array(2)),
        data_scale=float(_single(operation, 4)),
        weight=weight,
        weight_zero=_compact(operation.array(3)),
        weight_axis=0,
        axis=len(data.shape) - 1,
        channels=weight.shape[0],
        written=written,
    )
    return Value("", (*data.shape[:-1], weight.shape[0]), "int32", accumulator=accumulator)


def _batch_matmul(operation: Operation) -> Value:
    left, right = operation.value(0), operation.value(1)
    turned_a, turned_b = turned_in_batches(operation)

    def written(a: Value, b: Value, bias: Value | None) -> Value:
        result = product(operation, a, b, turned_a, turned_b)
        return result if bias is None else operation.emit("Add", [result, bias])

    rows, columns = left.shape[1 + turned_a], right.shape[2 - turned_b]
    accumulator = Accumulator(
        data=left,
        data_zero=_compact(operation.array(2)),
        data_scale=float(_single(operation, 4)),
        weight=right,
        weight_zero=_compact(operation.array(3)),
        weight_axis=-1,
        axis=2,
        channels=columns,
        written=written,
    )
    return Value("", (max(left.shape[0], right.shape[0]), rows, columns), "int32", accumulator=accumulator)


def _single(operation: Operation, index: int) -> Any:
    array = operation.array(index)
    if array.size != 1:
        raise ValueError("it has several scales of its data; ONNX takes one")
    return array.item()


def _binary(operator: str) -> Rule:
    """Of two tensors with scales of their own."""

    def rule(operation: Operation) -> Value:
        left = real(operation, 0, _quantization(operation, 2, 3, int(operation.get("lhs_axis", -1))))
        right = real(operation, 1, _quantization(operation, 4, 5, int(operation.get("rhs_axis", -1))))
        result = operation.emit(operator, [left, right])
        return quantize(operation, result, _quantization(operation, 6, 7), operation.value(0).dtype)

    return rule


def _unary(write: Callable[[Operation, Value], Value]) -> Rule:
    """Of one tensor: its scale and zero point, then the result's."""

    def rule(operation: Operation) -> Value:
        result = write(operation, real(operation, 0, _quantization(operation, 1, 2)))
        return quantize(operation, result, _quantization(operation, 3, 4), operation.value(0).dtype)

    return rule


def _emitted(operator: str) -> Rule:
    return _unary(lambda operation, value: operation.emit(operator, [value]))


def _leaky_relu(operation: Operation, value: Value) -> Value:
    return operation.emit("LeakyRelu", [value], alpha=float(operation.get("alpha", 0.01)))


def _softmax(operation: Operation, value: Value) -> Value:
    return operation.emit("Softmax", [value], axis=int(operation.get("axis", -1)))


def _reciprocal_root(operation: Operation, value: Value) -> Value:
    return operation.emit("Reciprocal", [operation.emit("Sqrt", [value])])


def _concatenate(operation: Operation) -> Value:
    """Tuples of tensors, scales and zero points, then the result's."""
    parts = []
    for value, scale, zero in zip(operation.values(0), operation.values(1), operation.values(2), strict=True):
        if scale.array is None or zero.array is None:
            raise ValueError("its scales are not constant; bind the parameters")
        given = Quantization(_compact(scale.array.astype(np.float32)), _compact(zero.array))
        parts.append(real(replace(operation, args=(value,)), 0, given))
    result = operation.emit("Concat", parts, axis=int(operation.get("axis", 0)))
    return quantize(operation, result, _quantization(operation, 3, 4), operation.values(0)[0].dtype)


RULES: dict[str, Rule] = {
    "qnn.quantize": _quantize,
    "qnn.dequantize": _dequantize,
    "qnn.requantize": _requantize,
    "qnn.conv2d": _convolution(transposed=False),
    "qnn.conv2d_transpose": _convolution(transposed=True),
    "qnn.dense": _dense,
    "qnn.batch_matmul": _batch_matmul,
    "qnn.add": _binary("Add"),
    "qnn.subtract": _binary("Sub"),
    "qnn.mul": _binary("Mul"),
    "qnn.concatenate": _concatenate,
    "qnn.abs": _emitted("Abs"),
    "qnn.erf": _emitted("Erf"),
    "qnn.exp": _emitted("Exp"),
    "qnn.hardswish": _emitted("HardSwish"),
    "qnn.log": _emitted("Log"),
    "qnn.sigmoid": _emitted("Sigmoid"),
    "qnn.sqrt": _emitted("Sqrt"),
    "qnn.tanh": _emitted("Tanh"),
    "qnn.rsqrt": _unary(_reciprocal_root),
    "qnn.leaky_relu": _unary(_leaky_relu),
    "qnn.softmax": _unary(_softmax),
}
