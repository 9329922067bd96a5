"""Functions of elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from eq_tvm.importer.relay.operation import Operation, Result, Rule
from eq_tvm.importer.relay.operators.normalization import along
from eq_tvm.importer.relay.values import Value


def _plain(operator: str, count: int = 1, **attributes: Any) -> Rule:
    return lambda operation: operation.emit(operator, [operation.value(i) for i in range(count)], **attributes)


def _identity(operation: Operation) -> Result:
    return operation.args[0]


def _clip(operation: Operation) -> Value:
    data = operation.value()
    bounds = [_bound(operation, name, data.dtype) for name in ("a_min", "a_max")]
    return operation.emit("Clip", [data, *bounds])


def _bound(operation: Operation, name: str, dtype: str) -> Value | None:
    value = operation.get(name, None)
    if value is None:
        raise ValueError(f"it has no {name}")
    if "int" in dtype:
        limits = np.iinfo(dtype)
        value = min(max(value, int(limits.min)), int(limits.max))
    return operation.constant(np.array(value, dtype)) if np.isfinite(value) else None


def _relu(operation: Operation) -> Value:
    data = operation.value()
    if data.dtype in ("uint8", "uint16", "uint32", "uint64", "bool"):
        return data
    if "int" in data.dtype:
        return operation.emit("Max", [data, operation.constant(np.array(0, data.dtype))])
    return operation.emit("Relu", [data])


def _prelu(operation: Operation) -> Value:
    data, slope = operation.value(0), operation.value(1)
    return operation.emit("PRelu", [data, along(operation, slope, operation.get("axis", 1), len(data.shape))])


def _by_float(operator: str) -> Rule:
    """What ONNX has of floats only."""

    def rule(operation: Operation) -> Value:
        data = operation.value()
        real = operation.cast(data, "float32") if "int" in data.dtype else data
        return operation.cast(operation.emit(operator, [real]), data.dtype)

    return rule


def _softmax(operator: str) -> Rule:
    return lambda operation: operation.emit(operator, [operation.value()], axis=int(operation.get("axis", -1)))


def _reciprocal_root(operation: Operation) -> Value:
    return operation.emit("Reciprocal", [operation.emit("Sqrt", [operation.value()])])


def _logarithm(base: float) -> Rule:
    def rule(operation: Operation) -> Value:
        natural = operation.emit("Log", [operation.value()])
        return operation.emit("Mul", [natural, operation.constant(np.array(1 / np.log(base), natural.dtype))])

    return rule


def _round(operation: Operation) -> Value:
    """Halves go away from 0."""
    data = operation.value()
    half = operation.constant(np.array(0.5, data.dtype))
    magnitude = operation.emit("Floor", [operation.emit("Add", [operation.emit("Abs", [data]), half])])
    return operation.emit("Mul", [magnitude, operation.emit("Sign", [data])])


def _truncate(operation: Operation) -> Value:
    data = operation.value()
    return operation.emit("Mul", [operation.emit("Floor", [operation.emit("Abs", [data])]), _sign(operation, data)])


def _sign(operation: Operation, data: Value) -> Value:
    return operation.emit("Sign", [data])


def _modulo(*, of_divisor: bool) -> Rule:
    """The remainder has the divisor's sign, or the dividend's."""

    def rule(operation: Operation) -> Value:
        left, right = operation.value(0), operation.value(1)
        if "int" in left.dtype or not of_divisor:
            return operation.emit("Mod", [left, right], fmod=int(not of_divisor))
        quotient = operation.emit("Floor", [operation.emit("Div", [left, right])])
        return operation.emit("Sub", [left, operation.emit("Mul", [quotient, right])])

    return rule


def _floor_divide(operation: Operation) -> Value:
    left, right = operation.value(0), operation.value(1)
    if "int" not in left.dtype:
        return operation.emit("Floor", [operation.emit("Div", [left, right])])
    rest = operation.emit("Mod", [left, right])
    return operation.emit("Div", [operation.emit("Sub", [left, rest]), right])


def _not_equal(operation: Operation) -> Value:
    return operation.emit("Not", [operation.emit("Equal", [operation.value(0), operation.value(1)])])


def _shift(*, left: bool) -> Rule:
    """As products and quotients, as ONNX shifts what has no sign only; of 32 bits, exact in float64."""

    def rule(operation: Operation) -> Value:
        data = operation.value(0)
        factor = operation.constant(2.0 ** operation.array(1).astype(np.float64))
        operator = "Mul" if left else "Div"
        shifted = operation.emit(operator, [operation.cast(data, "float64"), factor])
        return operation.cast(operation.emit("Floor", [shifted]), data.dtype)

    return rule


def _cast(operation: Operation) -> Value:
    data, dtype = operation.value(), operation.get("dtype", "")
    if dtype in ("custom", "") or not hasattr(np, dtype.rstrip("_") + ("_" if dtype == "bool" else "")):
        raise ValueError(f"it casts to {dtype or 'nothing'}, which ONNX does not have")
    return operation.cast(data, dtype)


def _cast_like(operation: Operation) -> Value:
    return operation.cast(operation.value(0), operation.value(1).dtype)


def _where(operation: Operation) -> Value:
    condition = operation.cast(operation.value(0), "bool")
    return operation.emit("Where", [condition, operation.value(1), operation.value(2)])


def _finite(operation: Operation) -> Value:
    data = operation.value()
    wrong = operation.emit("Or", [operation.emit("IsNaN", [data]), operation.emit("IsInf", [data])])
    return operation.emit("Not", [wrong])


def _leaky_relu(operation: Operation) -> Value:
    return operation.emit("LeakyRelu", [operation.value()], alpha=float(operation.get("alpha", 0.25)))


_UNARY = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "bitwise_not": "BitwiseNot",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "fast_erf": "Erf",
    "fast_exp": "Exp",
    "fast_tanh": "Tanh",
    "floor": "Floor",
    "isinf": "IsInf",
    "isnan": "IsNaN",
    "log": "Log",
    "logical_not": "Not",
    "negative": "Neg",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
}

_BINARY = {
    "add": "Add",
    "divide": "Div",
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_xor": "Xor",
    "maximum": "Max",
    "minimum": "Min",
    "multiply": "Mul",
    "power": "Pow",
    "subtract": "Sub",
}

# What tells the compiler something, and the values nothing
_IDENTITIES = (
    *("annotation.cast_hint", "annotation.checkpoint", "annotation.compiler_begin", "annotation.compiler_end"),
    *("annotation.force_cast", "annotation.stop_fusion", "copy", "device_copy", "identity", "on_device"),
)

RULES: dict[str, Rule] = {
    **{name: _plain(operator) for name, operator in _UNARY.items()},
    **{name: _plain(operator, 2) for name, operator in _BINARY.items()},
    **dict.fromkeys(_IDENTITIES, _identity),
    "nn.dropout": lambda operation: (operation.args[0], operation.args[0]),
    "cast": _cast,
    "cast_like": _cast_like,
    "clip": _clip,
    "floor_divide": _floor_divide,
    "floor_mod": _modulo(of_divisor=True),
    "isfinite": _finite,
    "left_shift": _shift(left=True),
    "right_shift": _shift(left=False),
    "log10": _logarithm(10),
    "log2": _logarithm(2),
    "mod": _modulo(of_divisor=False),
    "nn.fast_softmax": _softmax("Softmax"),
    "nn.leaky_relu": _leaky_relu,
    "nn.log_softmax": _softmax("LogSoftmax"),
    "nn.prelu": _prelu,
    "nn.relu": _relu,
    "nn.softmax": _softmax("Softmax"),
    "not_equal": _not_equal,
    "round": _round,
    "rsqrt": _reciprocal_root,
    "trunc": _truncate,
    "where": _where,
}
