"""Pad: what TVM does not do, as lists of indices along each axis."""

from __future__ import annotations

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall


def pad(call: OnnxCall) -> relax.Expr | None:
    """Pad by what wraps around the tensor, or by negative widths in modes that repeat elements.

    Raises
    ------
    ValueError
        An axis without elements left to repeat.
    """
    mode = call.attributes.get("mode", "constant")
    widths = _widths(call)
    if mode == "constant" or (mode != "wrap" and min(min(pair) for pair in widths) >= 0):
        return None
    value = call.operand(0)
    for axis, (extent, (before, after)) in enumerate(zip(call.shape(0), widths, strict=True)):
        if before or after:
            kept = np.arange(extent)[max(-before, 0) : extent - max(-after, 0)]
            if not kept.size:
                raise ValueError(f"its pads leave nothing of axis {axis} to repeat")
            indices = np.pad(kept, (max(before, 0), max(after, 0)), mode)
            value = relax.op.take(value, relax.const(indices.astype("int64")), axis, "clip")
    return value


def _widths(call: OnnxCall) -> list[tuple[int, int]]:
    """Elements before and after, of each axis."""
    pads, axes, rank = call.constant(1), call.constant(3), len(call.shape(0))
    if pads is None:
        raise ValueError("it has no pads")
    named = range(rank) if axes is None else axes.tolist()
    widths = [(0, 0)] * rank
    for axis, before, after in zip(named, *np.split(pads, 2), strict=True):
        widths[axis] = int(before), int(after)
    return widths
