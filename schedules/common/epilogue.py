"""What follows the accumulation: requantize, residual add, or the way out to float32 (docs/integer-program.md)."""

from dataclasses import dataclass

from tvm import te, tirx
from tvm.tirx import Expr

ACC_LIMIT = 2.0**29  # a fixed-point term never exceeds it, so the sum of two fits int32


@dataclass(frozen=True)
class Output:
    """The form in which an integer operator's result is stored.

    Parameters
    ----------
    dtype : str
        "int8" or "uint8": requantized. "float32": scaled and left in float.
    residual : str or None
        Dtype of the quantized tensor that is added before the result is stored.
    fraction : int
        Fractional bits of the fixed-point sum, where there is a residual.
    bounded : bool
        It is proven that no scaled accumulator is beyond `ACC_LIMIT`.
    int16 : bool
        It is proven that results fit int16 before they are clipped, and they are clipped there.
    zero, residual_zero : int
        What the result, and the residual, are stored as for 0: is added to all their integers.
    """

    dtype: str
    residual: str | None = None
    fraction: int = 0
    bounded: bool = False
    int16: bool = False
    zero: int = 0
    residual_zero: int = 0

    def limits(self) -> te.Tensor:
        """Placeholder of [low, high] (float32 output) or, as stored, [low, high, R] (R: the residual's scale)."""
        return (
            te.placeholder((2,), "float32", "limits")
            if self.dtype == "float32"
            else te.placeholder((3,), "int32", "limits")
        )

    def store(self, acc: Expr, multiplier: Expr | None, limits: te.Tensor, residual: Expr | None = None) -> Expr:
        """The stored value of one int32 accumulator `acc` (bias included), or of a float kernel's float32 one.

        `multiplier` is float32, None in a float kernel; `limits` as the method of this name makes them; `residual` an
        element of the tensor to be added.

        Each integer path has at most one float32 rounding before the conversion to integers: there is no pair of
        multiplication and addition that a compiler could fuse.
        """
        if multiplier is None:  # a float kernel
            total = acc if residual is None else acc + residual
            return te.min(te.max(total, limits[0]), limits[1])
        if self.dtype == "float32":
            return te.min(te.max(acc.astype("float32") * multiplier, limits[0]), limits[1])
        return self.narrow(self.requantize(acc, multiplier, limits, residual), limits)

    def requantize(self, acc: Expr, multiplier: Expr, limits: te.Tensor, residual: Expr | None = None) -> Expr:
        """The int32 result of one accumulator before it is clipped."""
        scaled = acc.astype("float32") * multiplier
        if not self.bounded:
            scaled = te.min(te.max(scaled, -ACC_LIMIT), ACC_LIMIT)
        term = rint(scaled)
        if residual is not None:
            term = fixed_point(term + value_of(residual, self.residual_zero) * limits[2], self.fraction)
        return self.shifted(term)

    def shifted(self, value: Expr) -> Expr:
        """An int32 result as it is stored, but for its dtype."""
        return value + self.zero if self.zero else value

    def narrow(self, value: Expr, limits: te.Tensor) -> Expr:
        """An int32 result clipped and converted."""
        if self.int16:
            low, high = (limits[end].astype("int16") for end in (0, 1))
            return te.min(te.max(value.astype("int16"), low), high).astype(self.dtype)
        return self.clip(self.saturate(value), limits)

    def saturate(self, value: Expr) -> Expr:
        """int32 to the dtype, which costs nothing where vectors of bytes are packed with saturation."""
        least, greatest = te.min_value(self.dtype).astype("int32"), te.max_value(self.dtype).astype("int32")
        return te.min(te.max(value, least), greatest).astype(self.dtype)

    def clip(self, value: Expr, limits: te.Tensor) -> Expr:
        """A value of the dtype within the limits."""
        return te.min(te.max(value, limits[0].astype(self.dtype)), limits[1].astype(self.dtype))


def value_of(stored: Expr, zero: int) -> Expr:
    """The integer, as int32, that is stored with `zero` added."""
    wide = stored.astype("int32")
    return wide - zero if zero else wide


def rint(value: Expr, lanes: int = 1) -> Expr:
    """float32 -> int32, ties to even; `value` must fit int32. (LLVM: one conversion, in the default rounding mode.)"""
    return tirx.call_llvm_pure_intrin("int32" if lanes == 1 else f"int32x{lanes}", "llvm.lrint", value)


def fixed_point(total: Expr, fraction: int) -> Expr:
    """(total + half) >> fraction, int32: a fixed-point sum as an integer, ties rounded up."""
    return (total + tirx.const(1 << (fraction - 1), "int32")) >> tirx.const(fraction, "int32")
