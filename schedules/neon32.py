"""What 32-bit ARM (ARMv7 with NEON) multiplies and rounds with.

Its vectors have no instruction for `llvm.lrint`: LLVM calls lrintf for each number. `rounded` puts arithmetic in its
place: the sum of a number of at most 2^22 and 1.5 * 2^23 is that number rounded to an integer, half to even, and its
low bits are those of the integer. NEON flushes what is below 2^-126 to zero, to which it would be rounded anyway.
"""

import tvm_ffi
from tvm import tirx
from tvm.ir import Call
from tvm.target.codegen import llvm_lookup_intrinsic_id

from .epilogue import ACC_LIMIT
from .intrinsics import llvm, spread

REGISTERS = 16
_TWO_23 = 2.0**23


def vmlal_bodies():
    """As `intrinsics.pmaddubsw_bodies`. LLVM fuses vmull + add into vmlal, but not vpaddl + add into vpadal."""
    def multiply(A, B):
        return llvm("llvm.arm.neon.vmulls.v8i16", "int16x8", spread(A, 0, 2, "int8", 4), B.vload([0, 0], "int8x8"))

    def widen(sums, c):
        return llvm("llvm.arm.neon.vpadals.v4i32.v8i16", "int32x4", c, sums)

    return lambda A, B, c: c + multiply(A, B), widen, lambda A, B, c: widen(multiply(A, B), c)


def rounded(func):
    """A function before vectorization with each `epilogue.rint` as arithmetic."""
    def change(expr):
        value = _saturated(expr)
        if value is not None:
            return value
        return _wide(expr.args[-1]) if _is_rint(expr) else expr

    return tvm_ffi.structural_map(func, [(tirx.Cast, change), (Call, change)], order="pre")


def _saturated(expr):
    """`Output.saturate` of a rounded number, limited before it is rounded; or None."""
    if not isinstance(expr, tirx.Cast) or str(expr.ty) not in ("int8", "uint8"):
        return None
    limited = _limited(expr.value)
    if limited is None or not _is_rint(limited[0]):
        return None
    rint, low, high = limited
    value = rint.args[-1]
    value = _between(value if _limited(value) is None else _limited(value)[0], low, high)
    return tirx.reinterpret("int32", value + tirx.const(1.5 * _TWO_23, "float32")).astype(str(expr.ty))


def _wide(value):
    """A number of at most `ACC_LIMIT` as int32."""
    value = _between(value if _limited(value) is None else _limited(value)[0], -ACC_LIMIT, ACC_LIMIT)
    sign = tirx.reinterpret("int32", value) & tirx.const(-(2**31), "int32")
    shift = tirx.reinterpret("float32", sign | tirx.reinterpret("int32", tirx.const(_TWO_23, "float32")))
    shifted = tirx.reinterpret("int32", value + shift)  # or TVM would take (value + shift) - shift for value
    small = tirx.abs(value) < tirx.const(_TWO_23, "float32")  # all others are integers
    return tirx.Select(small, tirx.reinterpret("float32", shifted) - shift, value).astype("int32")


def _between(value, low, high):
    """A float32 within limits. This also keeps LLVM from fusing a multiplication with the addition that follows."""
    low, high = tirx.const(float(low), "float32"), tirx.const(float(high), "float32")
    return llvm("llvm.maximum", "float32", llvm("llvm.minimum", "float32", value, high), low)


def _limited(expr):
    """(value, low, high) of an expression min(max(value, low), high) with constants; else None."""
    if not isinstance(expr, tirx.Min) or not isinstance(expr.a, tirx.Max):
        return None
    low, high = expr.a.b, expr.b
    constants = (tirx.IntImm, tirx.FloatImm)
    return (expr.a.a, low.value, high.value) if isinstance(low, constants) and isinstance(high, constants) else None


def _is_rint(expr):
    return (isinstance(expr, Call) and getattr(expr.op, "name", "") == "tirx.call_llvm_pure_intrin"
            and int(expr.args[0]) == llvm_lookup_intrinsic_id("llvm.lrint"))
