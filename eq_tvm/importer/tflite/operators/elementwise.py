"""Functions of single elements, and of the elements of several tensors at one place."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from onnx import TensorProto, helper

from eq_tvm.importer.tflite.call import Call, Converter
from eq_tvm.importer.tflite.graph import Value

Formula = Callable[..., Value]  # of the call and its operands


def _node(call: Call, *operands: Value, operator: str) -> Value:
    return call.emit(operator, *operands)


def _relu6(call: Call, x: Value) -> Value:
    return call.emit("Clip", x, _like(x, 0), _like(x, 6))


def _relu_n1_to_1(call: Call, x: Value) -> Value:
    return call.emit("Clip", x, _like(x, -1), _like(x, 1))


def _relu_0_to_1(call: Call, x: Value) -> Value:
    return call.emit("Clip", x, _like(x, 0), _like(x, 1))


def _leaky_relu(call: Call, x: Value) -> Value:
    return call.emit("LeakyRelu", x, alpha=float(call.option("Alpha")))


def _gelu(call: Call, x: Value) -> Value:
    """By the error function, or by tanh: Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2."""
    if call.option("Approximate"):
        cube = call.emit("Mul", call.emit("Mul", x, x), x)
        inner = call.emit("Add", x, call.emit("Mul", cube, _like(x, 0.044715)))
        half = call.emit("Tanh", call.emit("Mul", inner, _like(x, math.sqrt(2 / math.pi))))
    else:
        half = call.emit("Erf", call.emit("Mul", x, _like(x, math.sqrt(0.5))))
    return call.emit("Mul", call.emit("Mul", x, _like(x, 0.5)), call.emit("Add", half, _like(x, 1)))


def _rsqrt(call: Call, x: Value) -> Value:
    return call.emit("Reciprocal", call.emit("Sqrt", x))


def _square(call: Call, x: Value) -> Value:
    return call.emit("Mul", x, x)


def _zeros(call: Call, x: Value) -> Value:
    return call.emit("Mul", x, _like(x, 0))


def _squared_difference(call: Call, x: Value, y: Value) -> Value:
    difference = call.emit("Sub", x, y)
    return call.emit("Mul", difference, difference)


def _floor_div(call: Call, x: Value, y: Value) -> Value:
    if x.dtype.kind == "f":
        return call.emit("Floor", call.emit("Div", x, y))
    return call.emit("Div", call.emit("Sub", x, call.emit("Mod", x, y)), y)  # Mod has the sign of y


def _floor_mod(call: Call, x: Value, y: Value) -> Value:
    if x.dtype.kind != "f":
        return call.emit("Mod", x, y)
    return call.emit("Sub", x, call.emit("Mul", call.emit("Floor", call.emit("Div", x, y)), y))


def _not_equal(call: Call, x: Value, y: Value) -> Value:
    return call.emit("Not", call.emit("Equal", x, y))


def _sum(call: Call, *operands: Value) -> Value:
    return operands[0] if len(operands) == 1 else call.emit("Sum", *operands)


def _select(call: Call, condition: Value, x: Value, y: Value) -> Value:
    if call.kind == "SELECT" and 0 < len(condition.shape) < len(x.shape):  # a condition for each row
        condition = call.emit("Reshape", condition, np.array([-1] + [1] * (len(x.shape) - 1)))
    return call.emit("Where", condition, x, y)


def _cast(call: Call) -> None:
    """CAST: of what is quantized, the integers."""
    first, target = call.is_first(), call.result(0)
    value = call.value(0, first=first, integer=True)
    if target.dtype is None:
        call.refuse(f"gives {target.kind.lower()}", "only numbers and truth values can be compiled")
    if target.dtype.kind in "iu" and value.dtype.kind == "f":  # towards zero, as in C, and beyond the range undefined
        value = call.emit("Cast", value, to=TensorProto.INT64)
    call.give(call.emit("Cast", value, to=helper.np_dtype_to_tensor_dtype(target.dtype)), first=first)


def _requantize(call: Call) -> None:
    """QUANTIZE and DEQUANTIZE: the real numbers stay what they are, but for the rounding that `Call.give` adds."""
    first = call.is_first()
    call.give(call.value(0, first=first), first=first, moves=call.kind == "DEQUANTIZE")


def _unchanged(call: Call) -> None:
    """DENSIFY, whose constant is dense already."""
    call.give(call.value(0), moves=True)


_UNARY: dict[str, str | Formula] = {
    "ABS": "Abs",
    "CEIL": "Ceil",
    "COS": "Cos",
    "ELU": "Elu",
    "EXP": "Exp",
    "FLOOR": "Floor",
    "GELU": _gelu,
    "HARD_SWISH": "HardSwish",
    "LEAKY_RELU": _leaky_relu,
    "LOG": "Log",
    "LOGICAL_NOT": "Not",
    "LOGISTIC": "Sigmoid",
    "NEG": "Neg",
    "RELU": "Relu",
    "RELU6": _relu6,
    "RELU_0_TO_1": _relu_0_to_1,
    "RELU_N1_TO_1": _relu_n1_to_1,
    "ROUND": "Round",
    "RSQRT": _rsqrt,
    "SIGN": "Sign",
    "SIN": "Sin",
    "SQRT": "Sqrt",
    "SQUARE": _square,
    "TANH": "Tanh",
    "ZEROS_LIKE": _zeros,
}
_OF_SEVERAL: dict[str, str | Formula] = {
    "ADD": "Add",
    "ADD_N": _sum,
    "DIV": "Div",
    "EQUAL": "Equal",
    "FLOOR_DIV": _floor_div,
    "FLOOR_MOD": _floor_mod,
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual",
    "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual",
    "LOGICAL_AND": "And",
    "LOGICAL_OR": "Or",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "MUL": "Mul",
    "NOT_EQUAL": _not_equal,
    "POW": "Pow",
    "PRELU": "PRelu",
    "SELECT": _select,
    "SELECT_V2": _select,
    "SQUARED_DIFFERENCE": _squared_difference,
    "SUB": "Sub",
}


def _elementwise(call: Call, formula: Formula) -> None:
    first = call.is_first()
    operands = [call.spread(position, first=first) for position in range(len(call.operator.inputs))]
    call.give(formula(call, *operands), first=first)


def _converter(formula: str | Formula) -> Converter:
    if isinstance(formula, str):
        formula = partial(_node, operator=formula)
    return partial(_elementwise, formula=formula)


ELEMENTWISE: dict[str, Converter] = {
    **{kind: _converter(formula) for kind, formula in (_UNARY | _OF_SEVERAL).items()},
    "CAST": _cast,
    "DENSIFY": _unchanged,
    "DEQUANTIZE": _requantize,
    "QUANTIZE": _requantize,
}


def _like(value: Value, number: float) -> np.ndarray:
    return np.array(number, value.dtype)
