"""The int32 sums of a quantized layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eq_tvm.importer.relay.graph_writer import Quantization, Value
from eq_tvm.importer.relay.operation import Operation

Written = Callable[[Value, Value, "Value | None"], Value]


@dataclass(frozen=True)
class Accumulator:
    """A layer of integers, not yet written: ONNX wants to know what the sums stand for.

    Relay has the scale of the sums only in the operator that requantizes them, and the bias in between.

    Attributes
    ----------
    data, weight : Value
        Integers, as ONNX's operator takes them.
    data_zero, weight_zero : numpy.ndarray
        Zero points.
    data_scale : float
        What Relay says; exact results need only its product with the weights' scale, which the requantization has.
    weight_axis : int
        That of the output channels.
    axis : int
        That of the channels in the result.
    channels : int
    written : callable
        Writes the layer of real operands: data, weight, bias or None.
    bias : numpy.ndarray, optional
        Integers (channels,).
    after : tuple of callable
        What comes behind the layer, and means the same for the sums and the real numbers: relu, reshape.
    """

    data: Value
    data_zero: np.ndarray
    data_scale: float
    weight: Value
    weight_zero: np.ndarray
    weight_axis: int
    axis: int
    channels: int
    written: Written
    bias: np.ndarray | None = None
    after: tuple[Callable[[Value], Value], ...] = ()

    def plus(self, addend: np.ndarray) -> Accumulator:
        """With integers added to the sums, one or one for each channel."""
        before = np.zeros(self.channels, np.int64) if self.bias is None else self.bias
        return replace(self, bias=before + addend.reshape(-1).astype(np.int64))

    def real(self, operation: Operation, scale: np.ndarray) -> Value:
        """The real numbers that the sums stand for.

        Parameters
        ----------
        operation : Operation
            That needs them.
        scale : numpy.ndarray
            Of the sums: (), (1,) or (channels,).

        Returns
        -------
        Value
            The layer of dequantized operands; float32.
        """
        of_weight = (scale.reshape(-1).astype(np.float64) / self.data_scale).astype(np.float32)
        data = dequantized(operation, self.data, Quantization(np.array(self.data_scale, np.float32), self.data_zero))
        weights = Quantization(_scalar(of_weight), self.weight_zero, self.weight_axis)
        weight = dequantized(operation, self.weight, weights)
        bias = None
        if self.bias is not None:
            if np.abs(self.bias).max(initial=0) > np.iinfo(np.int32).max:
                raise ValueError("its bias does not fit int32")
            of_bias = (of_weight * np.float32(self.data_scale)).astype(np.float32)
            integers = operation.constant(self.bias.astype(np.int32))
            bias = dequantized(operation, integers, Quantization(_scalar(of_bias), np.array(0, np.int32), 0))
        result = self.written(data, weight, bias)
        for write in self.after:
            result = write(result)
        return result


def _scalar(values: np.ndarray) -> np.ndarray:
    return values.reshape(()) if values.size == 1 else values


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
            raise ValueError("its integers of 32 bits have a zero point, which ONNX's have not")
        attributes = {"axis": quantization.axis % max(len(value.shape), 1)} if np.size(scale) > 1 else {}
        found = operation.emit("DequantizeLinear", operands, **attributes)
        operation.writer.dequantized[key] = found
    return found


def quantize(operation: Operation, value: Value, quantization: Quantization, dtype: str) -> Value:
    """Integers that stand for real numbers.

    Raises
    ------
    ValueError
        A dtype that ONNX does not quantize to.
    """
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"it quantizes to {dtype}; ONNX has int8 and uint8")
    scale, zero = np.asarray(quantization.scale, np.float32), np.asarray(quantization.zero_point)
    points = np.broadcast_to(zero.reshape(-1) if zero.size > 1 else zero.reshape(()), scale.shape)
    attributes = {"axis": quantization.axis % max(len(value.shape), 1)} if scale.size > 1 else {}
    result = operation.emit(
        "QuantizeLinear", [value, operation.constant(scale), operation.constant(points.astype(dtype))], **attributes
    )
    return replace(result, quantization=quantization)
