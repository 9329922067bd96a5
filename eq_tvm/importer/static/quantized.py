"""Operators on quantized tensors, as ONNX Runtime's quantizer writes them (QOperator), by those on real numbers.

What they read is dequantized and their result quantized, which is the other form that it writes (QDQ). See
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md for those that the standard lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper

from eq_tvm.importer.protobuf import attributes_of, replace_attributes
from eq_tvm.importer.static.specializer import Handler, Specializer

# For which scales and zero points follow each operand, and then are the result's
_OPERATORS = {
    "QLinearAdd": "Add",
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearMul": "Mul",
    "QLinearSigmoid": "Sigmoid",
}


def _convolution(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    data, scale, zero, weight, weight_scale, weight_zero, *result = node.input[:8]
    operands = [_real(specializer, data, scale, zero), _weights(specializer, weight, weight_scale, weight_zero)]
    if len(node.input) > 8 and node.input[8]:
        operands.append(_bias(specializer, node.input[8], scale, weight_scale))
    _quantize(specializer, node, _computed(specializer, node, "Conv", operands), result)
    return True


def _integer_convolution(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """In float32, which has all integers of 24 bits."""
    one = specializer.constant(np.float32(1))
    data, weight, zero, weight_zero = [*node.input, "", ""][:4]
    operands = [_real(specializer, data, one, zero), _weights(specializer, weight, one, weight_zero)]
    result = _computed(specializer, node, "Conv", operands)
    specializer.call("Cast", result, output=node.output[0], to=TensorProto.INT32)
    return True


def _dense(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """QGemm: its bias has the product of the scales, and without a scale of the result that is real."""
    data, scale, zero, weight, weight_scale, weight_zero, bias, *result = [*node.input, "", "", ""][:9]
    given = attributes_of(node)
    columns = 0 if given.get("transB", 0) else 1
    operands = [
        _real(specializer, data, scale, zero),
        _weights(specializer, weight, weight_scale, weight_zero, axis=columns),
    ]
    if bias:
        alpha = specializer.constant(np.float32(given.get("alpha", 1.0)))
        operands.append(_bias(specializer, bias, specializer.call("Mul", scale, alpha), weight_scale))
    if result[0]:
        _quantize(specializer, node, _computed(specializer, node, "Gemm", operands), result)
    else:
        _computed(specializer, node, "Gemm", operands, output=node.output[0])
    return True


def _operator(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    if attributes_of(node).get("channels_last", 0):
        return False
    *read, scale, zero = node.input if len(node.input) % 3 == 2 else [*node.input, ""]
    return _of_reals(specializer, node, _OPERATORS[node.op_type], read, [scale, zero])


def _concat(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    scale, zero, *read = node.input
    return _of_reals(specializer, node, "Concat", read, [scale, zero])


def _of_reals(
    specializer: Specializer, node: NodeProto, operator: str, read: Sequence[str], result: Sequence[str]
) -> bool:
    """An operator of operands that each have a scale and zero point behind them."""
    operands = [_real(specializer, *read[i : i + 3]) for i in range(0, len(read), 3)]
    _quantize(specializer, node, _computed(specializer, node, operator, operands), result)
    return True


HANDLERS: dict[str, Handler] = {
    "ConvInteger": _integer_convolution,
    "QLinearConv": _convolution,
    "com.microsoft.QGemm": _dense,
    "com.microsoft.QLinearConcat": _concat,
    **{f"com.microsoft.{name}": _operator for name in _OPERATORS},
}


def _computed(
    specializer: Specializer, node: NodeProto, operator: str, operands: Sequence[str], output: str = ""
) -> str:
    """The result of an operator on real numbers, with a node's name and attributes."""
    output = output or specializer.new_name(operator)
    real = helper.make_node(operator, operands, [output], name=node.name)
    real.attribute.extend(node.attribute)
    replace_attributes(real, ["channels_last"])
    specializer.visit(real)
    return specializer.resolve(output)


def _real(specializer: Specializer, data: str, scale: str, zero: str = "") -> str:
    return specializer.call("DequantizeLinear", data, *_parameters(specializer, scale, zero))


def _quantize(specializer: Specializer, node: NodeProto, real: str, parameters: Sequence[str]) -> None:
    specializer.call("QuantizeLinear", real, *_parameters(specializer, *parameters), output=node.output[0])


def _parameters(specializer: Specializer, scale: str, zero: str) -> list[str]:
    """The scale and zero point of a whole tensor; operators may have them as vectors of one element."""
    return [specializer.reshape(name, []) for name in (scale, zero) if name]


def _weights(specializer: Specializer, weight: str, scale: str, zero: str, axis: int = 0) -> str:
    """In real numbers, by a scale and zero point for all or for each index along an axis."""
    rank = len(specializer.shape(weight))

    def spread(name: str) -> str:
        count = int(np.prod(specializer.shape(name)))
        return specializer.reshape(name, [count if i == axis else 1 for i in range(rank)])

    real = specializer.call("Cast", weight, to=TensorProto.FLOAT)
    if zero:
        real = specializer.call("Sub", real, spread(specializer.call("Cast", zero, to=TensorProto.FLOAT)))
    return specializer.call("Mul", real, spread(scale))


def _bias(specializer: Specializer, bias: str, scale: str, weight_scale: str) -> str:
    real = specializer.call("Cast", bias, to=TensorProto.FLOAT)
    return specializer.call("Mul", real, specializer.call("Mul", scale, weight_scale))
