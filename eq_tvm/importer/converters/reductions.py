"""Reductions: axes that are left out, booleans and integers, sums along an axis, norms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import Converter, OnnxCall

_BEFORE: dict[str, Callable[[relax.Expr], relax.Expr]] = {
    "ReduceL1": relax.op.abs,
    "ReduceL2": relax.op.square,
    "ReduceSumSquare": relax.op.square,
}
_AFTER: dict[str, Callable[[relax.Expr], relax.Expr]] = {"ReduceL2": relax.op.sqrt, "ReduceLogSum": relax.op.log}
_REDUCED: dict[str, Callable[..., relax.Expr]] = {
    "ReduceMax": relax.op.max,
    "ReduceMin": relax.op.min,
    "ReduceProd": relax.op.prod,
    "ReduceMean": relax.op.mean,
}


def _reduced(call: OnnxCall) -> relax.Expr | None:
    """By their definition; booleans as bytes, roots and logarithms of integers in float64."""
    kind, dtype, builder = call.node.op_type, call.dtype(0), call.builder
    axes = call.attributes.get("axes")
    if (given := call.constant(1)) is not None:
        axes = [int(axis) for axis in given]
    value = call.inputs[0]
    if dtype == "bool":
        value = builder.emit(relax.op.astype(value, "uint8"))
    elif kind in _AFTER and not dtype.startswith("float"):
        value = builder.emit(relax.op.astype(value, "float64"))
    if kind in _BEFORE:
        value = builder.emit(_BEFORE[kind](value))
    if axes or not call.attributes.get("noop_with_empty_axes", 0):
        reduce = _REDUCED.get(kind, relax.op.sum)
        value = builder.emit(reduce(value, axes or None, bool(call.attributes.get("keepdims", 1))))
    if kind in _AFTER:
        value = builder.emit(_AFTER[kind](value))
    return value if str(value.ty.dtype) == dtype else relax.op.astype(value, dtype)


def _accumulated(call: OnnxCall) -> relax.Expr:
    """CumSum and CumProd."""
    operator = {"CumSum": relax.op.cumsum, "CumProd": relax.op.cumprod}[call.node.op_type]
    axis = call.number(1) % len(call.shape(0))
    exclusive, backwards = (bool(call.attributes.get(name, 0)) for name in ("exclusive", "reverse"))
    value = call.inputs[0]
    if backwards:
        value = call.builder.emit(relax.op.flip(value, axis))
    value = call.builder.emit(operator(value, axis, call.dtype(0), exclusive))
    return relax.op.flip(value, axis) if backwards else value


def _hardmax(call: OnnxCall) -> relax.Expr:
    """One where the first maximum is, zero elsewhere."""
    builder, shape, dtype = call.builder, call.shape(0), call.dtype(0)
    axis = call.attributes.get("axis", -1) % len(shape)
    first = builder.emit(relax.op.argmax(call.inputs[0], axis, keepdims=True))
    places = relax.op.arange(shape[axis], dtype="int64")
    places = builder.emit(relax.op.reshape(builder.emit(places), (-1, *[1] * (len(shape) - 1 - axis))))
    return relax.op.astype(builder.emit(relax.op.equal(places, first)), dtype)


def _normalized(call: OnnxCall) -> relax.Expr:
    """LpNormalization; zeros where the norm is zero."""
    builder, value, dtype = call.builder, call.inputs[0], call.dtype(0)
    axis, order = call.attributes.get("axis", -1), call.attributes.get("p", 2)
    positive = builder.emit(relax.op.abs(value) if order == 1 else relax.op.square(value))
    norm = builder.emit(relax.op.sum(positive, axis, keepdims=True))
    if order != 1:
        norm = builder.emit(relax.op.sqrt(norm))
    least = relax.const(np.finfo(dtype).tiny, dtype)
    return relax.op.divide(value, builder.emit(relax.op.maximum(norm, least)))


REDUCTIONS: dict[str, Converter] = {
    "CumProd": _accumulated,
    "CumSum": _accumulated,
    "Hardmax": _hardmax,
    "LpNormalization": _normalized,
    **dict.fromkeys(
        [f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")], _reduced
    ),
}
