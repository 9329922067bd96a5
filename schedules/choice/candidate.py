"""One kernel for one layer, as it is chosen from: its estimate, its proofs, and what makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt
from tvm import tirx

from ..common.overflow import Proof

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """How a quantized tensor is stored.

    Parameters
    ----------
    dtype : str
    low, high : int
        The range of its integers.
    zero : int
        What is added to store them.
    """

    dtype: str
    low: int
    high: int
    zero: int = 0

    @property
    def span(self) -> tuple[int, int]:
        """The range of what is stored."""
        return self.low + self.zero, self.high + self.zero


@dataclass(frozen=True)
class Candidate:
    """One kernel for one layer.

    Parameters
    ----------
    name : str
        Algorithm, instruction and tiling, for people and as a key.
    algorithm : str
        "direct", "direct nibbles" where two weights are packed to a byte, or a form of Winograd's as "F(4,3)", or
        "rows F(2,3)" along rows.
    cycles : float
        Estimated cycles of one core.
    instruction : str
        Name of what multiplies.
    multiplications : float
        How many multiply-accumulates of that instruction the layer takes, without padding.
    make : callable
        Returns the scheduled PrimFunc.
    constants : callable
        Returns its weights, bias and multiplier, as arrays.
    proofs : tuple of Proof
        What has to hold for its result to be exact.
    source : Stored, optional
        How the activations that it reads are stored.
    """

    name: str
    algorithm: str
    cycles: float
    instruction: str
    multiplications: float
    make: Callable[[], tirx.PrimFunc]
    constants: Callable[[], Sequence[Array]]
    proofs: tuple[Proof, ...] = ()
    source: Stored | None = None

    @property
    def is_proven(self) -> bool:
        """Whether all proofs hold."""
        return all(proof.holds for proof in self.proofs)
