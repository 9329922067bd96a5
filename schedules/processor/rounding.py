"""How ARM rounds and narrows results, in place of what kernels say for all processors.

The sum of a float32 of at most 2^22 and 1.5 * 2^23 is that number rounded to an integer, half to even, and its low bits
are those of the integer. Vectors of 64-bit ARM take two instructions for `llvm.lrint`; those of 32-bit ARM have none,
and LLVM calls lrintf for each number.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import tvm_ffi
from numpy.typing import NDArray
from tvm import tirx
from tvm.ir import Call
from tvm.target.codegen import llvm_lookup_intrinsic_id

from ..common.epilogue import ACC_LIMIT, Output
from .instructions import vector_bits
from .intrinsics import Expr, llvm

_TWO_23 = 2.0**23


def proven(output: Output, worst: NDArray[Any], multiplier: NDArray[Any], features: Collection[str]) -> Output:
    """An output with what holds of accumulators up to `worst`, scaled by `multiplier`, both per channel.

    Processors with longer vectors saturate bytes as they pack them: to them int16 is of no use.
    """
    largest = (worst.astype("float64") * np.abs(multiplier.astype("float64"))).max(initial=0)
    quantized = output.dtype != "float32"
    single = quantized and output.residual is None and vector_bits(features) <= 128
    return replace(
        output,
        bounded=bool(quantized and largest < ACC_LIMIT),
        int16=bool(single and largest + abs(output.zero) < 2**15 - 1),
    )


def rounded(func: tirx.PrimFunc, features: Collection[str]) -> tirx.PrimFunc:
    """A function before vectorization as a processor with these features (see `instructions.choose`) rounds."""
    if vector_bits(features) > 128:
        return func
    func = tvm_ffi.structural_map(func, [(tirx.Min, _narrowed), (tirx.Cast, _to_int16)], order="pre")
    if "vmlal" not in features:
        return func
    return tvm_ffi.structural_map(func, [(Call, _without_call)], order="pre")


def _narrowed(expr: Expr) -> Expr:
    """`Output.narrow` with its limits applied once, in 32 bits: to a number before it is rounded, else to the integer.

    (A compiler can't fuse the addition that rounds with a multiplication: the limits are in between.)
    """
    clipped = _limited(expr)
    if clipped is None or not _same_cast(*clipped):
        return expr
    saturated = _limited(clipped[0].value)
    if saturated is None:
        return expr
    result, (low, high) = saturated[0], (limit.value for limit in clipped[1:])
    if not _is_rint(result):
        return tirx.Min(tirx.Max(result, low), high).astype(str(expr.ty))
    value = _between(result.args[-1], low.astype("float32"), high.astype("float32"))
    return _nearest(value).astype(str(expr.ty))


def _to_int16(expr: Expr) -> Expr:
    """An `Output.int16` result: what keeps the product and the sum that rounds apart is no instruction."""
    if str(expr.ty) != "int16" or not _is_rint(expr.value):
        return expr
    return _nearest(llvm("llvm.arithmetic.fence", "float32", expr.value.args[-1])).astype("int16")


def _nearest(value: Expr) -> Expr:
    """int32: its low 16 bits are those of the integer next to a float32 number that fits int16."""
    return tirx.reinterpret("int32", value + tirx.const(1.5 * _TWO_23, "float32"))


def _without_call(expr: Expr) -> Expr:
    """32-bit ARM: an `epilogue.rint` that is left, of a number of at most `ACC_LIMIT`, as arithmetic.

    NEON flushes what is below 2^-126 to zero, to which it would be rounded anyway.
    """
    if not _is_rint(expr):
        return expr
    value, limited = expr.args[-1], _limited(expr.args[-1])
    value = _between(limited[0] if limited else value, *(tirx.const(x, "float32") for x in (-ACC_LIMIT, ACC_LIMIT)))
    sign = tirx.reinterpret("int32", value) & tirx.const(-(2**31), "int32")
    shift = tirx.reinterpret("float32", sign | tirx.reinterpret("int32", tirx.const(_TWO_23, "float32")))
    shifted = tirx.reinterpret("int32", value + shift)  # or TVM would take (value + shift) - shift for value
    small = tirx.abs(value) < tirx.const(_TWO_23, "float32")  # all others are integers
    return tirx.Select(small, tirx.reinterpret("float32", shifted) - shift, value).astype("int32")


def _between(value: Expr, low: Expr, high: Expr) -> Expr:
    return llvm("llvm.maximum", "float32", llvm("llvm.minimum", "float32", value, high), low)


def _limited(expr: Expr) -> tuple[Expr, Expr, Expr] | None:
    """(value, low, high) of an expression min(max(value, low), high); else None."""
    if isinstance(expr, tirx.Min) and isinstance(expr.a, tirx.Max):
        return expr.a.a, expr.a.b, expr.b
    return None


def _same_cast(*casts: Expr) -> bool:
    """Whether all are int32 cast to the same 8-bit type."""
    return (
        all(isinstance(cast, tirx.Cast) and str(cast.value.ty) == "int32" for cast in casts)
        and len({str(cast.ty) for cast in casts}) == 1
        and str(casts[0].ty) in ("int8", "uint8")
    )


def _is_rint(expr: Expr) -> bool:
    return (
        isinstance(expr, Call)
        and getattr(expr.op, "name", "") == "tirx.call_llvm_pure_intrin"
        and int(expr.args[0]) == llvm_lookup_intrinsic_id("llvm.lrint")
    )
