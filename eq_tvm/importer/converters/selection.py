"""NonMaxSuppression and NonZero, with all the rows that there can be, and the count of those that there are."""

from __future__ import annotations

from tvm import relax, tirx

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.passes.lower.named_kernels import OPAQUE
from eq_tvm.passes.lower.schedule_fallback import SCHEDULED
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
    return _called(call, suppression(plan), [call.inputs[0], call.inputs[1]], (plan.most, 3))


def _nonzero(call: OnnxCall) -> relax.Expr:
    shape = call.shape(0)
    kernel = nonzero(shape, call.dtype(0))
    flat = call.builder.emit(relax.op.reshape(call.inputs[0], (-1,)))
    return _called(call, kernel, [flat], tuple(map(int, kernel.params[1].shape)))


def _called(call: OnnxCall, kernel: tirx.PrimFunc, operands: list[relax.Expr], shape: tuple[int, ...]) -> relax.Expr:
    function = call.builder.add_func(
        kernel.with_attr({SCHEDULED: True, "op_pattern": OPAQUE}), call.node.op_type.lower()
    )
    types = [relax.TensorType(shape, "int64"), relax.TensorType((1,), "int64")]
    results = call.builder.emit(relax.call_tir(function, relax.Tuple(operands), out_ty=types))
    return relax.Tuple([call.builder.emit(relax.TupleGetItem(results, index)) for index in range(2)])


SELECTION: dict[str, Converter] = {"NonMaxSuppression": _suppression, "NonZero": _nonzero}
