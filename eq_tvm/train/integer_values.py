"""What a node's value is in the integer program, as PyTorch tensors: docs/integer-program.md, sections 3, 4 and 6.

Float32 has its numbers where the program has them. Whole numbers are float64, which holds all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from eq_tvm.passes.arithmetic.fixed_point import fixed, fixed_point, normalizing
from eq_tvm.schedules.common.epilogue import ACC_LIMIT


class IntegerValue(ABC):
    """A value that is to be quantized, or to become float32."""

    @abstractmethod
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        """In steps of `scale`, to be rounded half to even and clipped; `limit` is the greatest magnitude then."""

    @abstractmethod
    def real(self) -> Tensor:
        """As float32, where it leaves the integers."""


@dataclass(frozen=True)
class Raw(IntegerValue):
    """Whole numbers q in [lo, hi], of one scale."""

    q: Tensor
    scale: Tensor
    lo: int
    hi: int

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        return self.q if scale == self.scale else self.q.float() * _ratio(self.scale.double(), scale)

    @override
    def real(self) -> Tensor:
        return self.q.float() * self.scale

    def term(self, scale: Tensor) -> tuple[np.float64, int]:
        """What `fixed_point` wants to know."""
        return np.float64(self.scale.item()) / np.float64(scale.item()), max(-self.lo, self.hi)


@dataclass(frozen=True)
class Accumulators(IntegerValue):
    """Whole numbers, of a float64 unit of each channel, divided by a count."""

    whole: Tensor
    unit: Tensor
    count: Tensor | int = 1

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        return self.fractions(scale, 1.0)

    def fractions(self, scale: Tensor, factor: float) -> Tensor:
        """In parts of `scale` / `factor`."""
        return self.whole.float() * (self.unit / (self.count * scale.double()) * factor).float()

    @override
    def real(self) -> Tensor:
        return self.whole.float() * (self.unit / self.count).float()


@dataclass(frozen=True)
class Sum(IntegerValue):
    """Of integers, and of integers, accumulators or a constant."""

    first: Raw
    second: Raw | Accumulators | np.ndarray

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        raws = [each for each in (self.first, self.second) if isinstance(each, Raw)]
        bits, factors = fixed_point([raw.term(scale) for raw in raws], limit if len(raws) == 1 else 0)
        terms = [raw.q * factor for raw, factor in zip(raws, factors, strict=True)]
        if isinstance(self.second, Accumulators):
            terms.append(_limited(self.second.fractions(scale, 2.0**bits)))
        elif isinstance(self.second, np.ndarray):
            terms.append(torch.from_numpy(fixed(self.second, np.float32(scale.item()), bits)).double())
        return _half_up(sum(terms[1:], terms[0]), bits)

    @override
    def real(self) -> Tensor:
        second = self.second
        return self.first.real() + (torch.from_numpy(second) if isinstance(second, np.ndarray) else second.real())


@dataclass(frozen=True)
class Rectified(IntegerValue):
    """Integers that are multiplied by a slope of their channel where they are negative."""

    source: Raw
    slopes: Tensor

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        unit = self.source.scale.double()
        negative = _ratio(unit * self.slopes.double(), scale)
        return self.source.q.float() * torch.where(self.source.q < 0, negative, _ratio(unit, scale))

    @override
    def real(self) -> Tensor:
        return self.steps(torch.ones(()), 0)


@dataclass(frozen=True)
class Shares(IntegerValue):
    """Exponentials, whole numbers, in parts of their row's sum; `floats` gives what the float operator does."""

    terms: Tensor
    floats: Callable[[], Tensor]

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        share = (1 / scale.double()).float() / self.terms.sum(-1, keepdim=True).float()
        return self.terms.float() * share

    @override
    def real(self) -> Tensor:
        return self.floats()


@dataclass(frozen=True)
class Normalized(IntegerValue):
    """Deviations of a row, float32, times gamma plus beta; `floats` gives what the float operator does."""

    deviations: Tensor
    gamma: np.ndarray
    beta: np.ndarray
    floats: Callable[[], Tensor]

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        bits, factors, summands = normalizing(self.gamma, self.beta, np.float32(scale.item()), limit)
        return _half_up(_limited(self.deviations * torch.from_numpy(factors)) + torch.from_numpy(summands), bits)

    @override
    def real(self) -> Tensor:
        return self.floats()


@dataclass(frozen=True)
class Mapped(IntegerValue):
    """A function of integers: float64 results for each one from `source.lo` to `source.hi`."""

    source: Raw
    results: np.ndarray

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        with np.errstate(invalid="ignore"):
            steps = self.results / np.float64(scale.item())
        return self._of_each(np.where(np.isnan(steps), 0, steps))

    @override
    def real(self) -> Tensor:
        return self._of_each(self.results.astype(np.float32))

    def _of_each(self, table: np.ndarray) -> Tensor:
        return torch.from_numpy(table)[(self.source.q - self.source.lo).long()]


@dataclass(frozen=True)
class Bounded(IntegerValue):
    """One of the others behind relu or clip."""

    value: IntegerValue
    low: float
    high: float

    @override
    def steps(self, scale: Tensor, limit: int) -> Tensor:
        low, high = ((torch.tensor(bound) / scale).round().item() for bound in (self.low, self.high))
        return self.value.steps(scale, limit).round().clamp(low, high)

    @override
    def real(self) -> Tensor:
        return self.value.real().clamp(self.low, self.high)


def exponentials(source: Raw, table: np.ndarray) -> Tensor:
    """Of what is left to each row's largest: `table` has those of 0, 1, ... steps."""
    return torch.from_numpy(table).double()[(source.q.amax(-1, keepdim=True) - source.q).long()]


def deviations(source: Raw, least: float, centered: bool) -> Tensor:
    """Less their mean (or 0), in parts of their standard deviation, of each row of integers; float32."""
    count, q = source.q.shape[-1], source.q
    total = q.sum(-1, keepdim=True) * float(centered)
    spread = count * q.square().sum(-1, keepdim=True) - total.square() + least
    return (count * q - total).float() * (1 / spread.sqrt()).float()


def real(value: Tensor | IntegerValue) -> Tensor:
    """What a float operator reads."""
    return value.real() if isinstance(value, IntegerValue) else value


def _ratio(unit: Tensor, scale: Tensor) -> Tensor:
    return (unit / scale.double()).float()


def _limited(term: Tensor) -> Tensor:
    return term.clamp(-ACC_LIMIT, ACC_LIMIT).round().double()


def _half_up(total: Tensor, bits: int) -> Tensor:
    """Whole numbers of a fixed point with so many fractional bits."""
    return ((total + 2.0 ** (bits - 1)) / 2.0**bits).floor()
