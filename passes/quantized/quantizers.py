"""Integer ranges of the schemes and the quantization of arrays to them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Range:
    """Integers that a quantized activation takes, from `lo` to `hi`.

    Their `dtype` in arrays is one that holds them all: int16 of 256 that no byte holds as they are, int32 of more.
    """

    dtype: str
    lo: int
    hi: int

    @property
    def zero_point(self) -> int:
        """What is added to store them in `stored`."""
        return -self.lo if self.dtype == "int16" else 0

    @property
    def stored(self) -> str:
        """The type that holds them."""
        return _STORED.get(self.dtype, self.dtype)

    @property
    def narrow(self) -> bool:
        """Whether bytes store them."""
        return self.dtype != "int32"

    def clipped(self, lo: int, hi: int) -> "Range":
        """Where what is stored is clipped."""
        return Range(self.dtype, lo - self.zero_point, hi - self.zero_point)

    def as_weights(self) -> "Range":
        """What is left of these in int8, as weights are."""
        return Range("int8", max(self.lo, -WEIGHT_LIMITS["int8"]), min(self.hi, WEIGHT_LIMITS["int8"]))

    def lowered(self, share: float) -> "Range":
        """As many integers as these, which begin at 0, with that share of them below 0: in sixteenths, up to a half.

        Few different ones, as kernels are compiled for the integer that pads.
        """
        count = self.hi + 1
        below = int(np.clip(np.ceil(_PARTS * share), 1, _PARTS // 2)) * count // _PARTS
        lo, hi = -below, self.hi - below
        even = hi <= np.iinfo(np.int8).max
        return Range("int8" if even else "int32" if self.dtype == "int32" else "int16", lo, hi)


_PARTS = 16
_STORED = {"int16": "uint8", "int32": "int16"}
WIDE = "w8a12"  # weights of 8 bits, activations of 12
# The scheme's bits are those of weights and activations, unless it names both. Those with wider activations come later.
WEIGHT_LIMITS = {
    "int4": 7,
    "int5": 15,
    "int6": 31,
    "int7": 63,
    "w8a7": 127,
    "w4a8": 7,
    "w7a8": 63,
    "int8": 127,
    WIDE: 127,
}
COARSE = ("int4", "int5", "w4a8")  # of so few bits that the first and the last layers need more
NARROWEST_FIRST = tuple(WEIGHT_LIMITS)
_SIGNED = {
    "int4": Range("int8", -7, 7),
    "int5": Range("int8", -15, 15),
    "int6": Range("int8", -31, 31),
    "int7": Range("int8", -63, 63),
    "w8a7": Range("int8", -63, 63),
    "w4a8": Range("int8", -127, 127),
    "w7a8": Range("int8", -127, 127),
    "int8": Range("int8", -127, 127),
    WIDE: Range("int32", -2047, 2047),
}
_UNSIGNED = {
    "int4": Range("int8", 0, 15),
    "int5": Range("int8", 0, 31),
    "int6": Range("int8", 0, 63),
    "int7": Range("int8", 0, 127),
    "w8a7": Range("int8", 0, 127),
    "w4a8": Range("uint8", 0, 255),
    "w7a8": Range("uint8", 0, 255),
    "int8": Range("uint8", 0, 255),
    WIDE: Range("int32", 0, 4095),
}
# Below 7 bits signed tensors reach as far as those that can't be negative: sums in 16 bits are as long.
_FAR = _SIGNED | {name: Range("int8", -_UNSIGNED[name].hi, _UNSIGNED[name].hi) for name in ("int4", "int5", "int6")}
ACTIVATION_RANGES = {"unsigned": (_FAR, _UNSIGNED), "symmetric": (_SIGNED, _SIGNED)}

# A tensor whose largest magnitude is below this counts as zero: its scale would leave the normal float32 numbers.
TINY = 1e-32
# Largest magnitude of a quantized bias. A channel with next to no weights would otherwise get so fine a scale that its
# bias no longer fits int32; 2^20 steps resolve a bias far below one step of any 8-bit output.
_BIAS_LIMIT = 2**20
_NORMAL = 2.0**-125  # float32 from there on, rounded or not


def check_scheme(scheme: str, activation_range: str) -> None:
    """Raise ValueError unless both names are known."""
    for what, name, known in (
        ("scheme", scheme, WEIGHT_LIMITS),
        ("activation range", activation_range, ACTIVATION_RANGES),
    ):
        if name not in known:
            raise ValueError(f"unknown {what} '{name}': there is {', '.join(known)}")


def stored_range(stored: str, zero_point: int) -> Range:
    """All integers that a type stores."""
    info = np.iinfo(stored)
    dtype = "int16" if zero_point else "int32" if stored == "int16" else stored
    return Range(dtype, int(info.min) - zero_point, int(info.max) - zero_point)


def activation_range_of(scheme: str, activation_range: str, non_negative: bool) -> Range:
    """The range of an activation tensor; "unsigned" wastes no half of it where nothing is negative."""
    return ACTIVATION_RANGES[activation_range][non_negative][scheme]


def max_abs_scale(max_abs: np.ndarray | float, limit: np.ndarray | int) -> np.ndarray:
    """Scale (float32) that maps `max_abs` to `limit`; 1 / `limit` where everything is zero."""
    max_abs = np.asarray(max_abs, np.float64)
    return (np.where(max_abs < TINY, 1.0, max_abs) / limit).astype(np.float32)


def smallest_weight_scale(bias: np.ndarray | None, input_scale: np.float32) -> np.ndarray | float:
    """Scales (O,) below which the quantized bias would be too large, or the accumulator's scale not normal."""
    normal = np.asarray(_NORMAL / np.float64(input_scale), np.float32)
    if bias is None:
        return normal
    return np.maximum(np.abs(bias) / (np.float64(input_scale) * _BIAS_LIMIT), normal).astype(np.float32)


def quantize(x: np.ndarray, scale: np.float32, range_: Range) -> np.ndarray:
    """`clip(rint(x / scale), lo, hi)` in the range's dtype; float32 division, round half to even."""
    q = np.divide(x, np.float32(scale), dtype=np.float32)
    np.rint(q, out=q)
    return np.clip(q, range_.lo, range_.hi, out=q).astype(range_.dtype)


def quantize_weight(weight: np.ndarray, scale: np.ndarray, limit: int, axis: int) -> np.ndarray:
    """Weight as int8 with one scale (O,) per output channel along `axis`."""
    per_channel = scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])
    return np.clip(np.rint(weight / per_channel), -limit, limit).astype(np.int8)


def accumulator_scale(input_scale: np.float32, weight_scale: np.ndarray) -> np.ndarray:
    """Scale (O,) of a layer's int32 accumulator and bias: float32 of the exact product."""
    return (np.float64(input_scale) * weight_scale.astype(np.float64)).astype(np.float32)


def quantize_bias(bias: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Bias (O,) as int32 with the accumulator's scale (O,)."""
    info = np.iinfo(np.int32)
    return np.clip(np.rint(bias.astype(np.float64) / scale), info.min, info.max).astype(np.int32)
