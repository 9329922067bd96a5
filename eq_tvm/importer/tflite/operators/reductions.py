"""Sums, means and extremes along axes, softmax, and products along axes."""

from __future__ import annotations

from functools import partial

import numpy as np
from onnx import TensorProto

from eq_tvm.importer.tflite.call import Call, Converter
from eq_tvm.importer.tflite.operators.axes import moved_axis


def _reduce(call: Call, operator: str) -> None:
    data = call.operand(0)
    rank = len(data.shape)
    axes = sorted({axis % rank for axis in call.ints(1)})
    keeps = bool(call.option("KeepDims"))
    # without the reduced axes, what is left has the file's order where channels are the only axis behind the batch
    first = call.is_first_of(0) and (keeps or set(range(1, rank - 1)) <= set(axes))
    value = call.value(0, first=first)
    truth = value.dtype == np.bool_
    if truth:  # REDUCE_ANY and REDUCE_ALL
        value = call.emit("Cast", value, to=TensorProto.INT32)
    moved = [moved_axis(axis, rank) if first else axis for axis in axes]
    if not axes:
        result = value
    elif operator == "ReduceSum":
        result = call.emit(operator, value, np.array(moved), keepdims=int(keeps))
    else:
        result = call.emit(operator, value, axes=moved, keepdims=int(keeps))
    if truth:
        result = call.emit("Cast", result, to=TensorProto.BOOL)
    call.give(result, first=first and keeps, moves=operator in ("ReduceMax", "ReduceMin"))


def _extreme_place(call: Call, operator: str) -> None:
    rank = len(call.operand(0).shape)
    axis = call.ints(1)[0] % rank
    first = call.is_first_of(0) and axis == rank - 1
    value = call.value(0, first=first)
    call.give(call.emit(operator, value, axis=1 if first else axis, keepdims=0))


def _softmax(call: Call) -> None:
    value = call.value(0)
    beta = float(call.option("Beta", 1.0))
    if beta != 1.0:
        value = call.emit("Mul", value, np.array(beta, value.dtype))
    call.give(call.emit("Softmax", value, axis=-1))


def _log_softmax(call: Call) -> None:
    call.give(call.emit("LogSoftmax", call.value(0), axis=-1))


def _l2_normalization(call: Call) -> None:
    first = call.is_first_of(0)
    value = call.value(0, first=first)
    norm = call.emit("ReduceL2", value, axes=[1 if first else -1], keepdims=1)
    call.give(call.emit("Div", value, call.emit("Max", norm, np.array(1e-6, value.dtype))), first=first)


def _local_response(call: Call) -> None:
    size = 2 * call.option("Radius") + 1
    value = call.value(0, first=True)
    alpha, beta, bias = (float(call.option(name)) for name in ("Alpha", "Beta", "Bias"))
    call.give(call.emit("LRN", value, size=size, alpha=alpha * size, beta=beta, bias=bias), first=True)


def _cumulative(call: Call) -> None:
    how = {"exclusive": int(call.option("Exclusive")), "reverse": int(call.option("Reverse"))}
    call.give(call.emit("CumSum", call.value(0), np.array(call.ints(1)[0]), **how))


def _largest(call: Call) -> None:
    """TOPK_V2: of the last axis, values and places."""
    value = call.value(0)
    results = call.state.graph.emit_several(
        "TopK", value, np.array(call.ints(1)[:1]), count=2, name=call.name, axis=-1, largest=1, sorted=1
    )
    for position, result in enumerate(results):
        call.give(result, position=position, moves=position == 0)


_REDUCTIONS = {
    "MEAN": "ReduceMean",
    "REDUCE_ALL": "ReduceMin",
    "REDUCE_ANY": "ReduceMax",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
    "SUM": "ReduceSum",
}
REDUCTIONS: dict[str, Converter] = {
    **{kind: partial(_reduce, operator=operator) for kind, operator in _REDUCTIONS.items()},
    "ARG_MAX": partial(_extreme_place, operator="ArgMax"),
    "ARG_MIN": partial(_extreme_place, operator="ArgMin"),
    "CUMSUM": _cumulative,
    "L2_NORMALIZATION": _l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    "LOG_SOFTMAX": _log_softmax,
    "SOFTMAX": _softmax,
    "TOPK_V2": _largest,
}
