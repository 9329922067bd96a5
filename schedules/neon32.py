"""What 32-bit ARM (ARMv7 with NEON) multiplies with."""

from .intrinsics import llvm, spread

REGISTERS = 16


def vmlal_bodies():
    """As `intrinsics.pmaddubsw_bodies`. LLVM fuses vmull + add into vmlal, but not vpaddl + add into vpadal."""
    def multiply(A, B):
        return llvm("llvm.arm.neon.vmulls.v8i16", "int16x8", spread(A, 0, 2, "int8", 4), B.vload([0, 0], "int8x8"))

    def widen(sums, c):
        return llvm("llvm.arm.neon.vpadals.v4i32.v8i16", "int32x4", c, sums)

    return lambda A, B, c: c + multiply(A, B), widen, lambda A, B, c: widen(multiply(A, B), c)
