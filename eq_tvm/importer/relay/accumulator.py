"""The int32 sums of a quantized layer, once it is known what they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eq_tvm.importer.relay.operation import Operation
from eq_tvm.importer.relay.pairs import dequantized
from eq_tvm.importer.relay.values import Accumulator, Quantization, Value


def real_sums(operation: Operation, sums: Accumulator, scale: np.ndarray) -> Value:
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

    Raises
    ------
    ValueError
        Scales that do not fit the channels.
    """
    if scale.size not in (1, sums.channels) or not sums.data_scale:
        raise ValueError(f"it has {scale.size} scales for {sums.channels} channels, of data by {sums.data_scale:g}")
    of_weight = (scale.reshape(-1).astype(np.float64) / sums.data_scale).astype(np.float32)
    data = dequantized(operation, sums.data, Quantization(np.array(sums.data_scale, np.float32), sums.data_zero))
    weights = Quantization(_scalar(of_weight), sums.weight_zero, sums.weight_axis)
    weight = dequantized(operation, sums.weight, weights)
    bias = None
    if sums.bias is not None:
        if np.abs(sums.bias).max(initial=0) > np.iinfo(np.int32).max:
            raise ValueError("its bias does not fit int32")
        of_bias = (of_weight * np.float32(sums.data_scale)).astype(np.float32)
        integers = operation.constant(sums.bias.astype(np.int32))
        bias = dequantized(operation, integers, Quantization(_scalar(of_bias), np.array(0, np.int32), 0))
    result = sums.written(data, weight, bias)
    for write in sums.after:
        result = write(result)
    return result


def integer_sums(operation: Operation, sums: Accumulator) -> Value:
    """The sums themselves, in float32 where that is exact, then int32.

    Raises
    ------
    ValueError
        It is not.
    """
    if sums.weight.array is None:
        raise ValueError("its sums are used as integers, and its weights are not constant; bind the parameters")
    weights = np.moveaxis(sums.weight.array.astype(np.int64), sums.weight_axis, 0)
    zeros = sums.weight_zero.astype(np.int64).reshape(-1, *[1] * (weights.ndim - 1))
    largest = np.abs(weights - zeros).reshape(len(weights), -1).sum(1).max() * 255
    bias = 0 if sums.bias is None else np.abs(sums.bias).max()
    if largest + bias >= _EXACT:
        raise ValueError("its sums are used as integers, and do not fit float32; requantize them first")
    return operation.cast(real_sums(operation, replace(sums, data_scale=1.0), np.array(1.0)), "int32")


_EXACT = 1 << 24  # integers up to here are exact in float32


def _scalar(values: np.ndarray) -> np.ndarray:
    return values.reshape(()) if values.size == 1 else values
