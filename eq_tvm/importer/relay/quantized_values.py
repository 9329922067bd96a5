"""What the common operators mean for integers that stand for real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from eq_tvm.importer.relay.accumulator import integer_sums
from eq_tvm.importer.relay.graph_writer import GraphWriter
from eq_tvm.importer.relay.operation import Operation, Result, Rule
from eq_tvm.importer.relay.pairs import dequantized, quantize, same
from eq_tvm.importer.relay.values import Accumulator, Value


def on_integers(operation: Operation, rule: Rule) -> Result:
    """Write an operator of the common dialect; of sums that are not written, and of quantized values, in pairs.

    ``relu(q)`` on integers of a known scale becomes ``quantize(relu(dequantize(q)))``: that is what ONNX Runtime's
    quantizer writes, and what the importer of quantized networks takes.
    """
    values = [value for argument in operation.args for value in _flat(argument)]
    if any(value.accumulator is not None for value in values):
        return _on_sums(operation, rule)
    if operation.operator == "cast":
        return _cast(operation, rule)
    change = _REAL.get(operation.operator)
    known = [value for value in values if value.quantization is not None]
    if change is None or not known or any(value.array is None and value.quantization is None for value in values):
        return rule(operation)
    first, quantization = known[0], known[0].quantization
    alike = all(same(value.quantization, quantization) and value.dtype == first.dtype for value in known)
    if quantization is None or not alike or np.size(quantization.scale) > 1:
        return rule(operation)
    given = quantization

    def to_real(argument: Result) -> Result:
        if isinstance(argument, tuple):
            return tuple(map(to_real, argument))
        if argument.quantization is None:
            return argument
        return dequantized(operation, argument, given) if argument.real is None else argument.real

    def to_integers(result: Result) -> Result:
        if isinstance(result, tuple):
            return tuple(map(to_integers, result))
        return quantize(operation, result, given, first.dtype)

    scale, zero = given.scale.item(), given.zero_point.item()
    attrs = change(operation.attrs, lambda integer: (integer - zero) * scale)
    args = tuple(map(to_real, operation.args))
    if operation.operator == "nn.pad" and len(args) > 1:
        attrs, args = {**attrs, "pad_value": (operation.array(1).item() - zero) * scale}, args[:1]
    rule = _clip if operation.operator in ("clip", "nn.relu") else rule
    return to_integers(rule(replace(operation, args=args, attrs=attrs)))


def _flat(result: Result) -> list[Value]:
    return [result] if isinstance(result, Value) else [value for part in result for value in _flat(part)]


def _cast(operation: Operation, rule: Rule) -> Result:
    """To 32 bits, for what operators compute on them, and back."""
    value, dtype, quantization = operation.value(), operation.get("dtype", ""), operation.value().quantization
    if quantization is None or np.size(quantization.scale) > 1:
        return rule(operation)
    if dtype == "int32":
        wide = operation.cast(value, dtype)
        return replace(wide, quantization=quantization, real=dequantized(operation, value, quantization))
    if dtype in ("int8", "uint8") and value.real is not None:
        return quantize(operation, value.real, quantization, dtype)
    return rule(operation)


def _on_sums(operation: Operation, rule: Rule) -> Result:
    """Biases are added to the sums, which may also be cut at 0 and moved; all else needs their scale."""
    args = [value for value in operation.args if isinstance(value, Value)]
    place = next((index for index, value in enumerate(args) if value.accumulator is not None), None)
    if place is None:
        return rule(replace(operation, args=tuple(_written(operation, argument) for argument in operation.args)))
    value, sums = args[place], args[place].accumulator
    assert sums is not None
    if operation.operator in _BEHIND_SUMS and len(args) == 1:
        return _behind(operation, rule, value, sums)
    if operation.operator == "nn.bias_add" and args[-1].array is None:
        raise ValueError(
            "its bias is not constant; save the parameters beside it (relay.save_param_dict), or bind them"
        )
    if operation.operator in ("add", "nn.bias_add", "subtract") and len(args) == 2 and not sums.after:
        addend = args[1 - place].array
        if addend is not None and (operation.operator != "subtract" or place == 0):
            sign = -1 if operation.operator == "subtract" else 1
            axis = operation.get("axis", 1) % len(value.shape) if operation.operator == "nn.bias_add" else None
            if _fits(addend, value, sums, axis):
                return replace(value, accumulator=sums.plus(sign * addend.astype(np.int64)))
    return rule(replace(operation, args=tuple(_written(operation, argument) for argument in operation.args)))


def _written(operation: Operation, argument: Result) -> Result:
    """Sums as integers, where nothing says what they stand for."""
    if isinstance(argument, tuple):
        return tuple(_written(operation, item) for item in argument)
    return argument if argument.accumulator is None else integer_sums(operation, argument.accumulator)


def _behind(operation: Operation, rule: Rule, value: Value, sums: Accumulator) -> Value:
    """Written behind the layer, once that is; its shape is found on a copy."""

    def write(result: Value) -> Value:
        written = rule(replace(operation, args=(result,)))
        assert isinstance(written, Value)
        return written

    trial = GraphWriter()
    stand_in = trial.input("sums", value.shape, "float32")
    written = rule(replace(operation, args=(stand_in,), writer=trial))
    assert isinstance(written, Value)
    return replace(value, shape=written.shape, accumulator=replace(sums, after=(*sums.after, write)))


def _fits(addend: np.ndarray, value: Value, sums: Accumulator, axis: int | None) -> bool:
    """Whether an addend has one number, or one for each channel."""
    if addend.size == 1:
        return True
    place = len(value.shape) - addend.ndim + int(np.argmax(addend.shape)) if axis is None else axis
    return addend.size == sums.channels == max(addend.shape) and place == sums.axis


def _clip(operation: Operation) -> Value:
    data = operation.value()
    bounds = [operation.constant(np.array(operation.attrs[name], data.dtype)) for name in ("a_min", "a_max")]
    return operation.emit("Clip", [data, *bounds])


_BEHIND_SUMS = (
    *("expand_dims", "layout_transform", "nn.batch_flatten", "nn.relu", "reshape", "squeeze", "strided_slice"),
    "transpose",
)

Change = Callable[[Mapping[str, Any], Callable[[float], float]], Mapping[str, Any]]


def _same(attrs: Mapping[str, Any], _real: Callable[[float], float]) -> Mapping[str, Any]:
    return attrs


def _bounds(attrs: Mapping[str, Any], real: Callable[[float], float]) -> Mapping[str, Any]:
    return {**attrs, "a_min": real(attrs["a_min"]), "a_max": real(attrs["a_max"])}


def _positive(attrs: Mapping[str, Any], real: Callable[[float], float]) -> Mapping[str, Any]:
    return {**attrs, "a_min": real(0), "a_max": float(np.finfo(np.float32).max)}


def _fill(attrs: Mapping[str, Any], real: Callable[[float], float]) -> Mapping[str, Any]:
    return {**attrs, "pad_value": real(attrs.get("pad_value") or 0)}


# Operators that mean the same for integers and for the real numbers that these stand for, and how attributes change
_REAL: dict[str, Change] = {
    **dict.fromkeys(
        (
            *("concatenate", "expand_dims", "layout_transform", "mean", "nn.adaptive_avg_pool2d", "nn.avg_pool2d"),
            *("nn.adaptive_max_pool2d", "nn.batch_flatten", "nn.depth_to_space", "nn.global_avg_pool2d"),
            *("nn.global_max_pool2d", "nn.max_pool2d", "nn.space_to_depth", "nn.upsampling", "image.resize2d"),
            *("reshape", "split", "squeeze", "stack", "strided_slice", "transpose"),
        ),
        _same,
    ),
    "clip": _bounds,
    "nn.relu": _positive,
    "nn.pad": _fill,
}
