"""What follows the accumulation: requantize, residual add, or the way out to float32 (docs/integer-program.md)."""

from dataclasses import dataclass

from tvm import te, tirx

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
    """

    dtype: str
    residual: str | None = None
    fraction: int = 0

    def limits(self):
        """Placeholder of [low, high] (float32 output) or [low, high, R] (R: the residual's fixed-point scale)."""
        return te.placeholder((2,), "float32", "limits") if self.dtype == "float32" else te.placeholder(
            (3,), "int32", "limits")

    def store(self, acc, multiplier, limits, residual=None):
        """The stored value of one int32 accumulator `acc` (bias included), or of a float kernel's float32 one.

        Each integer path has at most one float32 rounding before the conversion to integers: there is no pair of
        multiplication and addition that a compiler could fuse.
        """
        if multiplier is None:  # a float kernel
            total = acc if residual is None else acc + residual
            return te.min(te.max(total, limits[0]), limits[1])
        scaled = acc.astype("float32") * multiplier
        if self.dtype == "float32":
            return te.min(te.max(scaled, limits[0]), limits[1])
        if self.residual is None:
            return self.integer(te.round(scaled), limits)
        term = te.round(te.min(te.max(scaled, -ACC_LIMIT), ACC_LIMIT)).astype("int32")
        return fixed_point(term + residual.astype("int32") * limits[2], self.fraction, limits, self.dtype)

    def integer(self, rounded, limits):
        """A rounded float32 value, clipped to the limits and converted."""
        low, high = limits[0].astype("float32"), limits[1].astype("float32")
        return te.min(te.max(rounded, low), high).astype("int32").astype(self.dtype)


def fixed_point(total, fraction, limits, dtype):
    """(total + half) >> fraction, clipped to the limits."""
    rounded = (total + tirx.const(1 << (fraction - 1), "int32")) >> tirx.const(fraction, "int32")
    return te.min(te.max(rounded, limits[0]), limits[1]).astype(dtype)
