"""Quantized tensors of TFLite files as ONNX's QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from typing import Any

import numpy as np

from eq_tvm.importer.tflite.flatbuffer import Tensor
from eq_tvm.importer.tflite.graph import Graph, Value


def is_quantized(tensor: Tensor) -> bool:
    """Whether its integers stand for real numbers."""
    return tensor.quantization is not None and tensor.kind in _KINDS


def quantize(graph: Graph, value: Value, tensor: Tensor) -> Value:
    """The integers of a tensor, of real numbers."""
    return graph.emit("QuantizeLinear", value, *_parameters(tensor), name=f"{tensor.name}/quantized")


def dequantize(graph: Graph, value: Value, tensor: Tensor) -> Value:
    """The real numbers that the integers of a tensor stand for."""
    return graph.emit("DequantizeLinear", value, *_parameters(tensor), name=f"{tensor.name}/real")


def dequantized(tensor: Tensor) -> np.ndarray:
    """The real numbers of a constant, float32 of its shape."""
    data, how = tensor.data, tensor.quantization
    assert data is not None and how is not None
    along = [-1 if axis == how.axis and how.scale.size > 1 else 1 for axis in range(data.ndim)]
    integers = data.astype(np.int32) - how.zero.astype(np.int32).reshape(along)
    return integers.astype(np.float32) * how.scale.reshape(along)


def quantized_constant(graph: Graph, tensor: Tensor, data: np.ndarray, axis: int) -> Value:
    """The real numbers of a constant, by a DequantizeLinear that keeps its integers.

    Parameters
    ----------
    graph : Graph
    tensor : Tensor
    data : numpy.ndarray
        Its integers, perhaps transposed.
    axis : int
        The one of `data` along which scales differ, if they do.
    """
    how = tensor.quantization
    assert how is not None
    shape = () if how.scale.size == 1 else (-1,)
    zero = [how.zero.astype(data.dtype).reshape(shape)] if how.zero.any() else []
    integers = graph.constant(data, tensor.name)
    attributes: dict[str, Any] = {"axis": axis} if shape else {}
    return graph.emit("DequantizeLinear", integers, how.scale.reshape(shape), *zero, fold=False, **attributes)


def quantized_bias(graph: Graph, bias: Tensor, scale: np.ndarray) -> Value:
    """Real biases (O,) of integers whose scale is the product of those of what is multiplied, (1,) or (O,)."""
    assert bias.data is not None
    integers = graph.constant(bias.data.reshape(-1).astype(np.int32), bias.name)
    if scale.size == 1:
        return graph.emit("DequantizeLinear", integers, scale.reshape(()), fold=False)
    return graph.emit("DequantizeLinear", integers, scale, axis=0, fold=False)


def holds(tensor: Tensor, low: float, high: float) -> bool:
    """Whether a tensor's integers stand for nothing outside of some bounds: clipping to these is left out then."""
    how = tensor.quantization
    assert how is not None and tensor.dtype is not None
    info, scale, zero = np.iinfo(tensor.dtype), how.scale[0], how.zero[0]
    return bool(
        np.rint(np.float32(low) / scale) + zero <= info.min and np.rint(np.float32(high) / scale) + zero >= info.max
    )


_KINDS = ("INT4", "INT8", "UINT8")


def _parameters(tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    how = tensor.quantization
    assert how is not None
    return how.scale[:1].reshape(()), how.zero[:1].astype(tensor.dtype).reshape(())
