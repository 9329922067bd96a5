"""Cast from and to the four types of 8-bit floats, by tables: TVM 0.27 converts some wrongly and crashes on vectors.

Their values ascend with their codes, so that rounding a number is counting the midpoints below it.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from tvm import relax, te, tirx

from eq_tvm.importer.converters.call import OnnxCall


def cast(call: OnnxCall) -> relax.Expr | None:
    """Cast with an 8-bit float on one side or both; other casts are TVM's."""
    source, target = call.dtype(0), str(onnx.helper.tensor_dtype_to_np_dtype(call.attributes["to"]))
    if not {source, target} & {*FLOAT8}:
        return None
    value = call.inputs[0]
    if source in FLOAT8:
        value = decode(call.builder, value, source)
    if target in FLOAT8:
        return encode(
            call.builder,
            call.builder.emit(relax.op.astype(value, "float32")),
            target,
            bool(call.attributes.get("saturate", 1)),
        )
    return relax.op.astype(value, target)


FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")


def decode(builder: relax.BlockBuilder, value: relax.Expr, dtype: str) -> relax.Expr:
    """From an 8-bit float to float32."""
    values = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, dtype)).astype(np.float32)

    def look_up(x: te.Tensor, table: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *i: table[tirx.reinterpret("uint8", x(*i)).astype("int32")], "decoded")

    return builder.call_te(look_up, value, relax.const(values))


def encode(builder: relax.BlockBuilder, value: relax.Expr, dtype: str, saturate: bool) -> relax.Expr:
    """From float32 to the nearest 8-bit float; what is too large becomes the largest one, or infinity or NaN."""
    numbers = np.arange(128, dtype=np.uint8).view(getattr(ml_dtypes, dtype)).astype(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    largest = len(numbers) - 1
    beyond = numbers[-1] + (numbers[-1] - numbers[-2])
    midpoints = (numbers + np.append(numbers[1:], beyond)) / 2
    not_a_number = 0x80 if dtype.endswith("fnuz") else 0x7F
    overflow = largest if saturate else (0x7C if dtype == "float8_e5m2" else not_a_number)

    def code(x: Any, count: Any) -> Any:
        magnitude = tirx.Select(count > largest, tirx.const(overflow, "int32"), count)
        unsigned = magnitude == 0x80 if not dtype.endswith("fnuz") else tirx.any(magnitude == 0, magnitude == 0x80)
        signed = tirx.Select(tirx.all(x < 0, tirx.Not(unsigned)), magnitude + 0x80, magnitude)
        return tirx.Select(tirx.isnan(x), tirx.const(not_a_number, "int32"), signed)

    def rounded(x: te.Tensor, middle: te.Tensor) -> te.Tensor:
        k = te.reduce_axis((0, len(midpoints)), "k")

        def is_above(*i: Any) -> Any:
            size = tirx.abs(x(*i))
            to_even = tirx.all(size == middle[k], (k.var + 1) % 2 == 0)
            return tirx.any(size > middle[k], to_even).astype("int32")

        count = te.compute(x.shape, lambda *i: te.sum(is_above(*i), axis=k), "count")
        return te.compute(
            x.shape, lambda *i: tirx.reinterpret(dtype, code(x(*i), count(*i)).astype("uint8")), "encoded"
        )

    return builder.call_te(rounded, value, relax.const(midpoints.astype(np.float32)))
