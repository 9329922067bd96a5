"""What a variable of an annotated module stands for, where it is not an ordinary numpy array.

The values of docs/integer-program.md; each knows how it is quantized, and how it leaves the integers as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from integer_ops import (
    acc_term,
    add_terms,
    constant_term,
    deviations,
    fixed_point,
    layer_norm,
    raw_term,
    requantize,
    requantize_real,
    softmax,
    softmax_terms,
)

F32, F64 = np.float32, np.float64


@dataclass(frozen=True)
class Integers:
    """Between quantize and dequantize: integers in [lo, hi], to which the zero point is added for others to see.

    They are those of a value at a scale.
    """

    value: object
    scale: np.float32
    lo: int
    hi: int
    dtype: str
    zero_point: int = 0

    @property
    def q(self):
        return np.clip(quantize(self.value, self.scale, self.lo, self.hi), self.lo, self.hi)

    def leave(self):
        return (self.q + self.zero_point).astype(self.dtype)


@dataclass(frozen=True)
class Const:
    """Dequantized weights or bias: integers, and their scales as float32 that broadcasts against them."""

    q: np.ndarray
    scale: np.ndarray

    def leave(self):
        return self.q.astype(F32) * self.scale


@dataclass(frozen=True)
class Raw:
    """Activations q * scale, with q in [lo, hi]."""

    q: np.ndarray
    scale: np.float32
    lo: int
    hi: int

    @property
    def shape(self):
        return self.q.shape

    def quantize(self, scale, lo, hi):
        return self.q if scale == self.scale else requantize(self.q, F32(F64(self.scale) / F64(scale)), lo, hi)

    def leave(self):
        return self.q.astype(F32) * self.scale


@dataclass(frozen=True)
class Acc:
    """Accumulators acc * scale / count: scale per channel, count per position of a pooling."""

    acc: np.ndarray
    scale: np.ndarray
    count: np.ndarray | int = 1

    def multiplier(self, scale, factor=1):
        return F32(self.scale / (self.count * F64(scale)) * factor)

    def quantize(self, scale, lo, hi):
        return requantize(self.acc, self.multiplier(scale), lo, hi)

    def leave(self):
        return self.acc.astype(F32) * self.multiplier(1)

    @property
    def shape(self):
        return self.acc.shape


@dataclass(frozen=True)
class Offset:
    """A constant tensor that is added: float32."""

    values: np.ndarray

    def leave(self):
        return self.values


@dataclass(frozen=True)
class Sum:
    """Residual add of two Raw, or of a Raw and an Acc, or of a Raw and a constant tensor."""

    terms: list[Raw | Acc | Offset]

    def quantize(self, scale, lo, hi):
        raws = [term for term in self.terms if isinstance(term, Raw)]
        room = max(-lo, hi) if len(raws) < len(self.terms) else 0
        f, factors = fixed_point([(F64(raw.scale) / F64(scale), max(-raw.lo, raw.hi)) for raw in raws], room)
        parts = [raw_term(raw.q, r) for raw, r in zip(raws, factors, strict=True)]
        parts += [acc_term(t.acc, t.multiplier(scale, 2.0**f)) for t in self.terms if isinstance(t, Acc)]
        parts += [constant_term(t.values, scale, f) for t in self.terms if isinstance(t, Offset)]
        return add_terms(*parts, f, lo, hi)

    def leave(self):
        return leave(self.terms[0]) + leave(self.terms[1])


@dataclass(frozen=True)
class Concat:
    """Joined tensors that are not Raw of one scale: each is quantized by itself."""

    parts: list
    axis: int

    def quantize(self, scale, lo, hi):
        return np.concatenate([quantize(part, scale, lo, hi) for part in self.parts], self.axis)

    def leave(self):
        return np.concatenate([leave(part) for part in self.parts], self.axis)


@dataclass(frozen=True)
class Bounded:
    """One of the above after relu and clip: at least low, at most high (real units)."""

    value: Raw | Acc | Sum | Product | Rectified | Softmax | Normalized
    low: float
    high: float

    def quantize(self, scale, lo, hi):
        low, high = (int(np.clip(np.rint(F32(bound) / scale), lo, hi)) for bound in (self.low, self.high))
        return np.clip(self.value.quantize(scale, lo, hi), low, high)

    def leave(self):
        return np.clip(self.value.leave(), F32(self.low), F32(self.high))


@dataclass(frozen=True)
class Product:
    """Product of two Raw: integers of the exact float64 scale."""

    product: np.ndarray
    scale: np.float64

    @property
    def shape(self):
        return self.product.shape

    def quantize(self, scale, lo, hi):
        return requantize(self.product, F32(self.scale / F64(scale)), lo, hi)

    def leave(self):
        return self.product.astype(F32) * F32(self.scale)


@dataclass(frozen=True)
class Rectified:
    """A Raw whose negative elements are multiplied by a slope of their channel, axis 1: float32 slopes."""

    raw: Raw
    slopes: np.ndarray

    @property
    def shape(self):
        return self.raw.shape

    def multiplier(self, scale):
        slopes = self.slopes.astype(F64).reshape(-1, *(1,) * (self.raw.q.ndim - 2))
        unit = F64(self.raw.scale)
        return np.where(self.raw.q < 0, F32(unit * slopes / F64(scale)), F32(unit / F64(scale)))

    def quantize(self, scale, lo, hi):
        return requantize(self.raw.q, self.multiplier(scale), lo, hi)

    def leave(self):
        return self.raw.q.astype(F32) * self.multiplier(1)


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last axis of a Raw; `real` is the float operator."""

    raw: Raw
    real: Callable[[np.ndarray], np.ndarray]

    def quantize(self, scale, lo, hi):
        return softmax(softmax_terms(self.raw.q, self.raw.scale, self.raw.lo, self.raw.hi), scale, lo, hi)

    def leave(self):
        return self.real(self.raw.leave())


@dataclass(frozen=True)
class Normalized:
    """Layer or RMS normalization over the last axis: gamma, beta float32 (C,); `real` is the float operator."""

    raw: Raw
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float
    centered: bool
    real: Callable[[np.ndarray], np.ndarray]

    def quantize(self, scale, lo, hi):
        rows = deviations(self.raw.q, self.raw.scale, self.epsilon, self.centered)
        return layer_norm(rows, self.gamma, self.beta, scale, lo, hi)

    def leave(self):
        return self.real(self.raw.leave())


@dataclass(frozen=True)
class Mapped:
    """Functions of the elements of a Raw: float64 results, in the shape of the Raw."""

    source: Raw
    results: np.ndarray

    @property
    def shape(self):
        return self.results.shape

    def quantize(self, scale, lo, hi):
        return requantize_real(self.results, scale, lo, hi)

    def leave(self):
        return self.results.astype(F32)


def mapped(value) -> Mapped | None:
    """Raw, or Raw behind clip, as a function of its elements; None for what is no such function."""
    match value:
        case Raw():
            return Mapped(value, value.q * F64(value.scale))
        case Bounded(Raw() as raw, low, high):
            return Mapped(raw, np.clip(raw.q * F64(raw.scale), F64(F32(low)), F64(F32(high))))
        case Mapped():
            return value
    return None


def quantize(value, scale, lo: int, hi: int) -> np.ndarray:
    """Integers in [lo, hi] of `value` at the float32 `scale`."""
    if hasattr(value, "quantize"):
        return np.clip(value.quantize(scale, lo, hi), lo, hi).astype("int32")
    return np.clip(np.rint(leave(value) / scale), lo, hi).astype("int32")


def leave(value) -> np.ndarray:
    """`value` as an ordinary array, where it leaves the integers."""
    return value if isinstance(value, np.ndarray) else value.leave()
