"""Convolutions and dense layers."""

from __future__ import annotations

import numpy as np

from eq_tvm.importer.tflite.call import Call, Converter
from eq_tvm.importer.tflite.graph import Value
from eq_tvm.importer.tflite.quantization import is_quantized, quantized_bias, quantized_constant
from eq_tvm.importer.tflite.windows import explicit_padding


def _convolution(call: Call) -> None:
    """CONV_2D, with weights (O, H, W, I): in groups where I is less than the input's channels."""
    data = call.value(0, first=True)
    weights = _weights(call, 1, (0, 3, 1, 2))
    _give_convolution(call, data, weights, data.shape[1] // weights.shape[1])


def _depthwise(call: Call) -> None:
    """DEPTHWISE_CONV_2D, with weights (1, H, W, C * multiplier)."""
    data = call.value(0, first=True)
    _give_convolution(call, data, _weights(call, 1, (3, 0, 1, 2)), data.shape[1])


def _give_convolution(call: Call, data: Value, weights: Value, group: int) -> None:
    strides = [call.option("StrideH"), call.option("StrideW")]
    dilations = call.operator.dilations or [call.option("DilationHFactor", 1), call.option("DilationWFactor", 1)]
    pads = call.operator.pads or explicit_padding(call, data.shape[2:], weights.shape[2:], strides, dilations)
    result = call.emit(
        "Conv", data, weights, *_bias(call, 2), strides=strides, dilations=dilations, group=group, pads=pads
    )
    call.give(result, first=True)


def _transposed(call: Call) -> None:
    """TRANSPOSE_CONV: the shape of the result, weights (O, H, W, I), data, perhaps a bias."""
    data = call.value(2, first=True)
    weights = _weights(call, 1, (3, 0, 1, 2), channels=0)
    strides = [call.option("StrideH"), call.option("StrideW")]
    extents = call.ints(0)[1:3]
    before, output_padding = [], []
    after = []
    for size, kernel, stride, extent in zip(data.shape[2:], weights.shape[2:], strides, extents, strict=True):
        total = (size - 1) * stride + kernel - extent
        before.append(max(total, 0) // 2)
        after.append(max(total, 0) - max(total, 0) // 2)
        output_padding.append(max(-total, 0))
    result = call.emit(
        "ConvTranspose",
        data,
        weights,
        *_bias(call, 3, data=2),
        strides=strides,
        pads=[*before, *after],
        output_padding=output_padding,
    )
    call.give(result, first=True)


def _dense(call: Call) -> None:
    """FULLY_CONNECTED, with weights (O, K): of rows of K elements, whatever axes these come from."""
    if call.option("WeightsFormat"):
        call.refuse("has weights in shuffled order", "convert the network without that")
    columns = call.operand(1).shape[1]
    data = call.value(0)
    if call.state.known(call.operator.inputs[1]) is None:
        weights = call.emit("Transpose", call.value(1), perm=(1, 0))
    else:
        weights = _weights(call, 1, (1, 0), channels=1)
    if not (call.option("KeepNumDims") and data.shape[-1] == columns) and (
        len(data.shape) != 2 or data.shape[1] != columns
    ):
        data = call.emit("Reshape", data, np.array([-1, columns]))
    bias = _bias(call, 2)
    if len(data.shape) == 2:
        result = call.emit("Gemm", data, weights, *bias)
    else:
        result = call.emit("MatMul", data, weights)
        result = call.emit("Add", result, *bias) if bias else result
    call.give(result)


def _product(call: Call) -> None:
    """BATCH_MATMUL: of two tensors, either of which may be transposed."""
    operands = []
    for position, option in enumerate(("AdjX", "AdjY")):
        value = call.value(position)
        rank = len(value.shape)
        if call.option(option):
            value = call.emit("Transpose", value, perm=(*range(rank - 2), rank - 1, rank - 2))
        operands.append(value)
    call.give(call.emit("MatMul", *operands))


CONVOLUTION: dict[str, Converter] = {
    "BATCH_MATMUL": _product,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transposed,
}


def _weights(call: Call, position: int, order: tuple[int, ...], channels: int = 0, data: int = 0) -> Value:
    """Constant weights, transposed: with their integers if the layer's input is quantized, else as real numbers.

    Parameters
    ----------
    call : Call
    position : int
    order : tuple of int
        As of numpy.transpose.
    channels : int
        The axis of output channels behind that.
    data : int
        The operand that is multiplied by them.
    """
    tensor = call.operand(position)
    if tensor.data is not None and is_quantized(tensor) and is_quantized(call.operand(data)):
        return quantized_constant(call.state.graph, tensor, tensor.data.transpose(order), channels)
    return call.state.graph.constant(call.known(position).transpose(order), tensor.name)


def _bias(call: Call, position: int, data: int = 0) -> list[Value]:
    """A bias (O,), if there is one."""
    if not call.has(position):
        return []
    tensor, weights, source = call.operand(position), call.operand(1).quantization, call.operand(data)
    if tensor.data is None or tensor.data.dtype.kind == "f":
        return [call.value(position)]
    if weights is None or source.quantization is None:
        call.refuse("has a bias of integers without scales", "the file is not valid")
    return [quantized_bias(call.state.graph, tensor, source.quantization.scale * weights.scale)]
