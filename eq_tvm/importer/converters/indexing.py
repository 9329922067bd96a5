"""Gather without TVM's fast mode, which reads beyond the tensor where an index does."""

from __future__ import annotations

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall
from eq_tvm.passes.graph.rewrite import array


def gather(call: OnnxCall) -> relax.Expr:
    """Gather: indices from behind count from the end; what is out of bounds reads the nearest element."""
    data, indices = call.inputs
    shape = call.shape(0)
    axis = call.attributes.get("axis", 0) % len(shape)
    extent = shape[axis]
    known = array(indices)
    if known is not None:
        if known.size and not -extent <= known.min() <= known.max() < extent:
            raise ValueError(f"it reads index {known.max()} or {known.min()} of {extent} elements")
        flat = relax.op.take(data, relax.const(np.where(known < 0, known + extent, known).reshape(-1)), axis, "clip")
    else:
        zero = relax.const(0, call.dtype(1))
        wrapped = relax.op.where(
            relax.op.less(indices, zero), relax.op.add(indices, relax.const(extent, call.dtype(1))), indices
        )
        flat = relax.op.take(data, relax.op.reshape(call.builder.normalize(wrapped), (-1,)), axis, "clip")
    return relax.op.reshape(call.builder.normalize(flat), shape[:axis] + call.shape(1) + shape[axis + 1 :])
