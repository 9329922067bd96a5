"""Div and Mod: of integers by 0, which ends the process, and of floats by a constant 0, which TVM refuses to fold."""

from __future__ import annotations

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.passes.graph.rewrite import array


def _divide(call: OnnxCall) -> relax.Expr | None:
    """Integers that the data divide by 0 stay as they are; there is no right result."""
    dtype = call.dtype(1)
    if dtype.startswith("float"):
        return _divide_by_zero(call)
    if _is_safe(call):
        return None
    value, divisor = call.inputs
    quotient = call.builder.emit(relax.op.divide(value, _safe(call)))
    if dtype.startswith("u"):
        return quotient
    negative = call.builder.emit(relax.op.subtract(relax.const(0, dtype), value))
    return relax.op.where(_equals(call, divisor, -1), negative, quotient)


def _divide_by_zero(call: OnnxCall) -> relax.Expr | None:
    """Of floats, by a constant: the same as by an infinite factor."""
    divisor = array(call.inputs[1])
    if divisor is None or divisor.size != 1 or divisor.any():
        return None
    factor = np.copysign(np.inf, divisor).astype(divisor.dtype)
    return relax.op.multiply(call.inputs[0], relax.const(factor, call.dtype(1)))


def _modulo(call: OnnxCall) -> relax.Expr | None:
    """Of floats with the divisor's sign, where TVM's quotient overflows; of integers by 0 that the data choose, 0."""
    is_c, dtype = bool(call.attributes.get("fmod", 0)), call.dtype(0)
    if not dtype.startswith("float"):
        remainder = relax.op.mod if is_c else relax.op.floor_mod
        return None if _is_safe(call) else remainder(call.inputs[0], _safe(call))
    if is_c:
        return None
    builder, (value, divisor), zero = call.builder, call.inputs, relax.const(0, dtype)
    rest = builder.emit(relax.op.mod(value, divisor))
    is_negative, goes_down = (builder.emit(relax.op.less(each, zero)) for each in (rest, divisor))
    differs = builder.emit(relax.op.logical_xor(is_negative, goes_down))
    is_some = builder.emit(relax.op.not_equal(rest, zero))
    moved = builder.emit(relax.op.where(builder.emit(relax.op.logical_and(differs, is_some)), divisor, zero))
    return relax.op.add(rest, moved)


DIVISION: dict[str, Converter] = {"Div": _divide, "Mod": _modulo}


def _is_safe(call: OnnxCall) -> bool:
    """Whether integers are divided by constants that every processor can divide by; ValueError where one is 0."""
    divisor = array(call.inputs[1])
    if divisor is not None and not divisor.all():
        raise ValueError("it divides integers by 0")
    return divisor is not None and not (divisor == -1).any()


def _safe(call: OnnxCall) -> relax.Expr:
    """The divisor; 1 in place of 0, and of -1, by which the least integer has no quotient."""
    divisor, dtype = call.inputs[1], call.dtype(1)
    wrong = _equals(call, divisor, 0)
    if not dtype.startswith("u"):
        wrong = call.builder.emit(relax.op.logical_or(wrong, _equals(call, divisor, -1)))
    return call.builder.emit(relax.op.where(wrong, relax.const(1, dtype), divisor))


def _equals(call: OnnxCall, value: relax.Expr, number: int) -> relax.Expr:
    return call.builder.emit(relax.op.equal(value, relax.const(number, call.dtype(1))))
