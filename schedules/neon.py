"""What 64-bit ARM rounds and narrows with, in place of what kernels say for all processors."""

import tvm_ffi
from tvm import tirx
from tvm.ir import Call
from tvm.target.codegen import llvm_lookup_intrinsic_id

from .intrinsics import llvm

SHIFT = 1.5 * 2.0**23  # added to a number of at most 2^22, it leaves the integer next to that in the low bits


def rounded(func):
    """A function before vectorization in which `Output.narrow` of a rounded number takes fewer instructions.

    Its limits are applied once, before it is rounded: by an addition, as `llvm.lrint` takes two instructions. (A
    compiler could not fuse that with the multiplication before: the limits are in between.)
    """
    def change(expr):
        clipped = _limited(expr)
        if clipped is None or not _same_cast(*clipped):
            return expr
        saturated = _limited(clipped[0].value)
        if saturated is None or not _is_rint(saturated[0]):
            return expr
        low, high = (limit.value.astype("float32") for limit in clipped[1:])
        value = llvm("llvm.maximum", "float32", saturated[0].args[-1], low)
        value = llvm("llvm.minimum", "float32", value, high) + tirx.const(SHIFT, "float32")
        return tirx.Cast(str(expr.ty), tirx.reinterpret("int32", value))

    return tvm_ffi.structural_map(func, [(tirx.Min, change)], order="pre")


def _same_cast(*casts):
    """Whether all are int32 cast to the same 8-bit type."""
    return (all(isinstance(cast, tirx.Cast) and str(cast.value.ty) == "int32" for cast in casts)
            and len({str(cast.ty) for cast in casts}) == 1 and str(casts[0].ty) in ("int8", "uint8"))


def _limited(expr):
    """(value, low, high) of an expression min(max(value, low), high); else None."""
    if isinstance(expr, tirx.Min) and isinstance(expr.a, tirx.Max):
        return expr.a.a, expr.a.b, expr.b
    return None


def _is_rint(expr):
    return (isinstance(expr, Call) and getattr(expr.op, "name", "") == "tirx.call_llvm_pure_intrin"
            and int(expr.args[0]) == llvm_lookup_intrinsic_id("llvm.lrint"))
