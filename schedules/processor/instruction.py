"""The record of a multiply instruction: all that kernels, and the choice between them, know of it.

Every instruction computes, for `lanes` output channels at once,

    C[i] += sum over chain, pair of A[chain * pairs + pair] * B[chain, i, pair]

with int32 (or float32) C. A is one pixel's run of input channels, B a block of packed weights. `chain` products are
added up in int16 first where the instruction works that way, which the compiler proves to fit.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Isa = Literal["x86", "aarch64", "armv7"]

DIGITS = string.digits + string.ascii_lowercase  # of the links of a chain, in names


@dataclass(frozen=True)
class Instruction:
    """One way to multiply and accumulate.

    Parameters
    ----------
    base_name : str
        What it is called, without the length of its chain: "pmaddubsw_256".
    isa : str
        The architecture: "x86", "aarch64" or "armv7", which is 32-bit ARM with NEON.
    family : str
        Key of ``targets.yaml``'s ``instructions`` by which a processor has it, and whose figure tells its speed; empty
        for float32.
    lanes : int
        Output channels per vector.
    pairs : int
        Neighbouring input channels that one lane multiplies and adds.
    activation, weight : str
        Operand dtypes.
    registers : int
        Vector registers of the machine, with `lanes` elements of 32 bits: bounds the tile of accumulators.
    chain : int
        Vectors of weights that one use consumes: of products added in int16 before they are widened, where there is an
        int16 step, else of those that share a vector of activations.
    lengths : tuple of int
        The chains that the ranges of a layer alone may prove, rising, where there is an int16 step; empty: there is
        none. A layer's actual weights may prove others.
    lanes_per_channel : int
        Lanes that hold partial sums of the same output channel; 1: the lanes are channels, and share activations.
    pixels : int
        Neighbouring pixels whose sums the lanes hold, each of all of a vector's channels; 1: a vector is of one pixel.
    chains : tuple of int
        Of an instruction in assembly (see `ordered`): the links of each chain that one use consumes, for several
        vectors and pixels together.
    fused : bool
        Whether it adds to the accumulators as well, without an instruction more.
    matrix : bool
        Whether it multiplies a matrix, of several pixels and vectors of channels, in registers of its own: see `amx`.
        One use consumes up to `chain` vectors of weights, as many as divide a layer's channels best.
    sums : bool
        Whether it multiplies sums of activations and weights: see `processor.sums`. One use consumes two vectors of
        weights, for the activations of either.
    rate : float
        Its multiply-accumulates per cycle, relative to the figure of its family; without a family, to one vector.
    """

    base_name: str
    isa: Isa
    family: str
    lanes: int
    pairs: int
    activation: str
    weight: str
    registers: int
    chain: int = 1
    lengths: tuple[int, ...] = ()
    lanes_per_channel: int = 1
    pixels: int = 1
    chains: tuple[int, ...] = ()
    fused: bool = False
    matrix: bool = False
    sums: bool = False
    rate: float = 1.0

    @property
    def name(self) -> str:
        """What it is called where kernels are recorded, as "pmaddubsw_256_x4": see `instructions.named`."""
        if self.chains:
            return f"{self.base_name}_x{''.join(DIGITS[links] for links in self.chains)}"
        return f"{self.base_name}_x{self.chain}" if self.int16_step else self.base_name

    @property
    def neon(self) -> bool:
        """Whether it is one of ARM's, of 128 bits."""
        return self.isa != "x86"

    @property
    def int16_step(self) -> bool:
        """Whether products are added in int16 before they are widened."""
        return bool(self.lengths)

    @property
    def products(self) -> int:
        """How many a link adds up in one int16, where there is an int16 step."""
        return self.pairs // 2

    @property
    def staged(self) -> bool:
        """Whether products are added in int16 first, by an intrinsic of its own."""
        return self.int16_step and (self.chain > 1 or self.lanes_per_channel > 1) and not self.chains

    @property
    def links(self) -> int:
        """Vectors of weights, for each vector of accumulators, that one use consumes."""
        return sum(self.chains) or self.chain

    @property
    def depth(self) -> int:
        """Input channels that one use of the instruction consumes."""
        return self.pairs * self.links * self.lanes_per_channel

    @property
    def channels(self) -> int:
        """Output channels of a vector."""
        return self.lanes // (self.lanes_per_channel * self.pixels)

    @property
    def intrinsic(self) -> str:
        """Name of the tensor intrinsic that adds to accumulators: products, or the int16 sums of a chain of them."""
        return f"eq_tvm.{self.base_name}_widen" if self.staged else f"eq_tvm.{self.base_name}"

    @property
    def link(self) -> str:
        """Name of the tensor intrinsic that multiplies and adds in int16, where it is `staged`."""
        return f"eq_tvm.{self.base_name}_link"

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights that one use of the instruction reads.

        ([chain,] channels, pairs), or (chain, channels) for chains of single products, or
        (chain, lanes_per_channel * pairs) where lanes hold partial sums of a channel.
        """
        if self.lanes_per_channel > 1:
            return (self.links, self.lanes_per_channel * self.pairs)
        if self.chain == 1:
            return (self.channels, self.pairs)
        return (self.chain, self.channels, self.pairs) if self.pairs > 1 else (self.chain, self.channels)


@dataclass(frozen=True)
class Definition:
    """An instruction, and what makes it one of TVM's.

    Parameters
    ----------
    instruction : Instruction
        With the shortest of its chains.
    register : callable (instruction)
        Registers its tensor intrinsics, for chains of every length, unless that was done before: see `intrinsics`.
    variants : tuple of Definition
        Those that multiply and prove alike, but read activations differently.
    """

    instruction: Instruction
    register: Callable[[Instruction], object]
    variants: tuple[Definition, ...] = ()
