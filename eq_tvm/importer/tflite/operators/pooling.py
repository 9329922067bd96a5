"""Poolings: averages do not count padding."""

from __future__ import annotations

from eq_tvm.importer.tflite.call import Call, Converter
from eq_tvm.importer.tflite.graph import Value
from eq_tvm.importer.tflite.windows import explicit_padding


def _average(call: Call) -> None:
    call.give(_pooled(call, "AveragePool", call.value(0, first=True)), first=True)


def _root_mean_square(call: Call) -> None:
    data = call.value(0, first=True)
    call.give(call.emit("Sqrt", _pooled(call, "AveragePool", call.emit("Mul", data, data))), first=True)


def _max(call: Call) -> None:
    call.give(_pooled(call, "MaxPool", call.value(0, first=True)), first=True, moves=True)


POOLING: dict[str, Converter] = {
    "AVERAGE_POOL_2D": _average,
    "L2_POOL_2D": _root_mean_square,
    "MAX_POOL_2D": _max,
}


def _pooled(call: Call, operator: str, data: Value) -> Value:
    kernel = [call.option("FilterHeight"), call.option("FilterWidth")]
    strides = [call.option("StrideH"), call.option("StrideW")]
    pads = explicit_padding(call, data.shape[2:], kernel, strides)
    return call.emit(operator, data, kernel_shape=kernel, strides=strides, pads=pads)
