"""The int32 sums of a quantized layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eq_tvm.importer.relay.graph_writer import Quantization, Value
from eq_tvm.importer.relay.operation import Operation
from eq_tvm.importer.relay.pairs import dequantized

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

    def integers(self, operation: Operation) -> Value:
        """The sums themselves, in float32 where that is exact, then int32.

        Raises
        ------
        ValueError
            It is not.
        """
        if self.weight.array is None:
            raise ValueError("its sums are used as integers, and its weights are not constant; bind the parameters")
        weights = np.moveaxis(self.weight.array.astype(np.int64), self.weight_axis, 0)
        zeros = self.weight_zero.astype(np.int64).reshape(-1, *[1] * (weights.ndim - 1))
        largest = np.abs(weights - zeros).reshape(len(weights), -1).sum(1).max() * 255
        bias = 0 if self.bias is None else np.abs(self.bias).max()
        if largest + bias >= _EXACT:
            raise ValueError("its sums are used as integers, and do not fit float32; requantize them first")
        return operation.cast(replace(self, data_scale=1.0).real(operation, np.array(1.0)), "int32")


_EXACT = 1 << 24  # integers up to here are exact in float32


def _scalar(values: np.ndarray) -> np.ndarray:
    return values.reshape(()) if values.size == 1 else values
