"""Reshapes and transposes of a tensor, followed without moving anything until somebody reads the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .lowered_values import NHWC_OF_NCHW, MatrixProduct, Tensor


@dataclass(frozen=True)
class Rearranged:
    """A tensor whose elements a later kernel is to find elsewhere.

    The stored axes are cut into factors; each axis of the annotated module is made of some of these. A transpose
    reorders axes, a reshape cuts and joins them: what several in a row do is then one transposition of factors, or none
    where they end up in the order in which they are stored.

    Parameters
    ----------
    source : Tensor
    factors : tuple of int
        Extents, in the order of the stored axes; none is 1.
    axes : tuple of tuple of int
        For each axis of the annotated module the factors that it consists of, the outermost first.
    """

    source: Tensor
    factors: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Rearranged:
        """A tensor as it is."""
        stored = list(range(len(tensor.shape)))
        long = [axis for axis in stored if tensor.shape[axis] > 1]
        order = [NHWC_OF_NCHW.index(axis) for axis in stored] if tensor.nhwc else stored
        axes = tuple((long.index(axis),) if axis in long else () for axis in order)
        return cls(tensor, tuple(tensor.shape[axis] for axis in long), axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """In the annotated module."""
        return tuple(math.prod(self.factors[i] for i in axis) for axis in self.axes)

    def permuted(self, axes: Sequence[int]) -> Rearranged:
        """Behind a transpose."""
        return Rearranged(self.source, self.factors, tuple(self.axes[axis] for axis in axes))

    def reshaped(self, shape: Sequence[int]) -> Rearranged | None:
        """Behind a reshape; None where it cuts a factor into what is none."""
        pieces: list[list[int]] = [[] for _ in self.factors]  # extents that each factor is cut into
        axes: list[tuple[tuple[int, int], ...]] = []  # of (factor, piece)
        rest = [(i, self.factors[i]) for axis in self.axes for i in axis][::-1]
        for extent in shape:
            found = []
            while extent > 1:
                factor, size = rest.pop()
                taken = math.gcd(extent, size)
                if taken not in (extent, size):
                    return None
                found.append((factor, len(pieces[factor])))
                pieces[factor].append(taken)
                if taken < size:
                    rest.append((factor, size // taken))
                extent //= taken
            axes.append(tuple(found))
        first = [sum(map(len, pieces[:i])) for i in range(len(pieces))]
        factors = tuple(extent for of_factor in pieces for extent in of_factor)
        return Rearranged(self.source, factors, tuple(tuple(first[i] + at for i, at in axis) for axis in axes))

    def order(self, nhwc: bool) -> list[int]:
        """The factors in the order in which they are stored as NHWC, or with the annotated module's axes."""
        axes = [self.axes[axis] for axis in NHWC_OF_NCHW] if nhwc else self.axes
        return [i for axis in axes for i in axis]

    def runs(self, nhwc: bool) -> list[list[int]]:
        """The order, factors that stay together in runs."""
        runs: list[list[int]] = []
        for factor in self.order(nhwc):
            if runs and factor == runs[-1][-1] + 1:
                runs[-1].append(factor)
            else:
                runs.append([factor])
        return runs

    def stored_as_nhwc(self) -> bool:
        """Whether NHWC is the layout to store it in: where the rank is 4, and the other one is not there already."""
        return len(self.axes) == 4 and len(self.runs(False)) > 1


def product_view(value: MatrixProduct, tensor: Tensor) -> Rearranged:
    """What the kernel stores, (M, pairs, N), as the annotated module has it, (..., M, N)."""
    _, rows, _, columns = value.sizes
    rank = len(value.axes)
    stored = Rearranged.of(tensor).reshaped((rows, *value.axes, columns))
    assert stored is not None, "these are factors"
    return stored.permuted([*range(1, rank + 1), 0, rank + 1])
