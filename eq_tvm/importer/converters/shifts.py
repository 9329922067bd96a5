"""BitShift by as many bits as the type has, or more: what processors do then differs, and C leaves it undefined."""

from __future__ import annotations

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.passes.graph.rewrite import array


def _shift(call: OnnxCall) -> relax.Expr | None:
    """Zeros are shifted in, or to the right copies of the sign; negative amounts count as more than all (opset 28)."""
    dtype, (value, amount) = call.dtype(0), call.inputs
    bits, known = np.iinfo(dtype).bits, array(amount)
    if known is not None and ((known >= 0) & (known < bits)).all():
        return None
    emit, is_left = call.builder.emit, call.attributes["direction"] in ("LEFT", b"LEFT")
    zero, is_beyond = relax.const(0, dtype), emit(relax.op.greater_equal(amount, relax.const(bits, dtype)))
    if not dtype.startswith("u"):
        is_beyond = emit(relax.op.logical_or(is_beyond, emit(relax.op.less(amount, zero))))
    within = emit(relax.op.where(is_beyond, zero, amount))
    if is_left:
        return relax.op.where(is_beyond, zero, emit(relax.op.left_shift(value, within)))
    rest = zero if dtype.startswith("u") else emit(relax.op.right_shift(value, relax.const(bits - 1, dtype)))
    return relax.op.where(is_beyond, rest, emit(relax.op.right_shift(value, within)))


SHIFTS: dict[str, Converter] = {"BitShift": _shift}
