"""What the common operators mean for integers that stand for real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from eq_tvm.importer.relay.accumulator import Accumulator, dequantized, quantize
from eq_tvm.importer.relay.graph_writer import GraphWriter, Value
from eq_tvm.importer.relay.operation import Operation, Result, Rule


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
    known = [value for value in values if _narrow(value).quantization is not None]
    change = _REAL.get(operation.operator)
    if not known or change is None or any(value.array is None and value not in known for value in values):
        return rule(operation)
    first = _narrow(known[0])
    quantization = first.quantization
    if quantization is None or np.size(quantization.scale) != 1:
        return rule(operation)
    if any(_parameters(value) != _parameters(known[0]) for value in known[1:]):
        return rule(operation)

    def to_real(argument: Result) -> Result:
        if isinstance(argument, tuple):
            return tuple(map(to_real, argument))
        return dequantized(operation, _narrow(argument), quantization) if argument in known else argument

    def to_integers(result: Result) -> Result:
        if isinstance(result, tuple):
            return tuple(map(to_integers, result))
        narrow = quantize(operation, result, quantization, first.dtype)
        return narrow if known[0].narrow is None else _widened(operation, narrow, known[0].dtype)

    scale, zero = float(quantization.scale), float(np.asarray(quantization.zero_point))
    attrs = change(operation.attrs, lambda integer: (float(integer) - zero) * scale)
    args = tuple(map(to_real, operation.args))
    if operation.operator == "nn.pad" and len(args) > 1:
        attrs, args = {**attrs, "pad_value": (float(operation.array(1)) - zero) * scale}, args[:1]
    name = "clip" if operation.operator == "nn.relu" else operation.operator
    return to_integers((_CLIP if name == "clip" else rule)(replace(operation, operator=name, args=args, attrs=attrs)))


def _flat(result: Result) -> list[Value]:
    return [result] if isinstance(result, Value) else [value for part in result for value in _flat(part)]


def _narrow(value: Value) -> Value:
    return value if value.narrow is None else value.narrow


def _parameters(value: Value) -> tuple[Any, ...]:
    value = _narrow(value)
    given = value.quantization
    return (
        () if given is None else (value.dtype, np.asarray(given.scale).tobytes(), np.asarray(given.zero_point).item())
    )


def _widened(operation: Operation, value: Value, dtype: str) -> Value:
    return replace(operation.cast(value, dtype), narrow=value)


def _cast(operation: Operation, rule: Rule) -> Result:
    """From 8 bits to 32, and back to what it was."""
    value, dtype = operation.value(), operation.get("dtype", "")
    if value.narrow is not None and value.narrow.dtype == dtype:
        return value.narrow
    if value.quantization is not None and dtype in ("int16", "int32"):
        return _widened(operation, value, dtype)
    return rule(operation)


def _on_sums(operation: Operation, rule: Rule) -> Value:
    """Biases are added to the sums, which may also be cut at 0 and moved; all else needs their scale."""
    args = [operation.value(index) for index in range(min(len(operation.args), 2))]
    place = next(index for index, value in enumerate(args) if value.accumulator is not None)
    value, sums = args[place], args[place].accumulator
    assert sums is not None
    if operation.operator in _BEHIND_SUMS and len(args) == 1:
        return _behind(operation, rule, value, sums)
    if operation.operator in ("add", "nn.bias_add", "subtract") and len(args) == 2 and not sums.after:
        addend = args[1 - place].array
        if addend is not None and (operation.operator != "subtract" or place == 0):
            sign = -1 if operation.operator == "subtract" else 1
            axis = operation.get("axis", 1) % len(value.shape) if operation.operator == "nn.bias_add" else None
            if _fits(addend, value, sums, axis):
                return replace(value, accumulator=sums.plus(sign * addend.astype(np.int64)))
    raise ValueError(
        "it reads the sums of a quantized layer before they are requantized; save the network without that"
    )


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


_CLIP = _clip

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
