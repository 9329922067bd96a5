"""NonMaxSuppression and NonZero, with all the rows that there can be, and the count of those that there are."""

from __future__ import annotations

import math

from tvm import relax

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.schedules.operators.selection import Suppression, nonzero, suppression


def _suppression(call: OnnxCall) -> relax.Expr:
    """ValueError for a limit or a threshold that is not constant."""
    batch, classes, boxes = call.shape(1)
    threshold = call.constant(4)
    overlap = call.constant(3)
    plan = Suppression(
        batch,
        classes,
        boxes,
        limit=call.number(2),
        overlap=0.0 if overlap is None else float(overlap.reshape(())),
        threshold=None if threshold is None else float(threshold.reshape(())),
        from_center=bool(call.attributes.get("center_point_box", 0)),
    )
    return relax.Tuple(call.kernel(suppression(plan), call.inputs[:2], [((plan.most, 3), "int64"), ((1,), "int64")]))


def _nonzero(call: OnnxCall) -> relax.Expr:
    shape = call.shape(0)
    flat = call.builder.emit(relax.op.reshape(call.inputs[0], (-1,)))
    results = [((len(shape), math.prod(shape)), "int64"), ((1,), "int64")]
    return relax.Tuple(call.kernel(nonzero(shape, call.dtype(0)), [flat], results))


SELECTION: dict[str, Converter] = {"NonMaxSuppression": _suppression, "NonZero": _nonzero}
