"""Which chains of an int16 step a layer's actual weights allow: proofs that no sum of products overflows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..common.overflow import INT16_MAX, Proof
from ..common.sizes import largest_divisor
from ..convolution.conv2d import Conv2D
from ..processor.instruction import Instruction
from ..processor.ordered import GROUP, LINKS, with_chains

Weights: TypeAlias = npt.NDArray[Any]
# Takes an instruction and returns the weights as it would use them, one after the other: axes (..., link, input).
Runs: TypeAlias = Callable[[Instruction], Weights]


def longer_chains(
    instruction: Instruction, runs: Runs, activation_range: tuple[int, int], lengths: Sequence[int] = (2, 3, 4, 6, 8)
) -> Iterator[Instruction]:
    """The same instruction with every longer chain whose int16 sums provably fit, for a layer's actual weights.

    Parameters
    ----------
    instruction : Instruction
        As `choose` found it from the greatest weight alone.
    runs : callable
        The weights: see `direct_plan.weight_runs`.
    activation_range : (int, int)
        Least and greatest activation as the instruction reads it, offset included.
    lengths : sequence of int
        Chains to consider.

    Notes
    -----
    An int16 lane adds up `chain` neighbours along the axis of links, and of each of them as many products as the
    instruction itself adds. The greatest sum has the positive weights at the upper end of the range and the negative
    ones at the lower; the least the reverse.
    """
    for longer in with_lengths(instruction, lengths):
        if all(proof.holds for proof in chain_proofs(longer, runs, activation_range)):
            yield longer


def with_lengths(instruction: Instruction, lengths: Sequence[int]) -> Iterator[Instruction]:
    """The same instruction with every longer chain, proven or not, where it has an int16 step."""
    for chain in lengths if instruction.int16_step else ():
        if chain > instruction.chain:
            yield replace(instruction, chain=chain)


def chain_proofs(instruction: Instruction, runs: Runs, activation_range: tuple[int, int]) -> tuple[Proof, ...]:
    """That the int16 sums of an instruction's chains fit; parameters as of `longer_chains`. None without such sums."""
    if not instruction.int16_step:
        return ()
    lengths = instruction.chains or (instruction.chain,)
    starts = np.cumsum([0, *lengths[:-1]])
    greatest, least = (
        np.add.reduceat(each.sum(-2, dtype="int32"), starts, axis=-2)
        for each in extremes(_by_lane(instruction, runs(instruction)), activation_range)
    )
    reached = max(int(greatest.max(initial=0)), -int(least.min(initial=0)))
    return (Proof(f"sums of {max(lengths) * instruction.products} products in 16 bits", reached, INT16_MAX),)


def added_together(instruction: Instruction, channels: int) -> npt.NDArray[np.intp]:
    """Of each input channel of a run, (channels,): the int16 sum that its products are added to."""
    size = instruction.lanes_per_channel * instruction.pairs
    whole = -(-channels // (instruction.links * size)) * instruction.links
    by_lane = _by_lane(instruction, np.arange(whole * size).reshape(-1, instruction.links, size))
    found = np.empty(whole * size, np.intp)
    uses, _, _, lanes = by_lane.shape
    found[by_lane] = np.arange(uses * lanes).reshape(uses, 1, 1, lanes)
    return found[:channels]


def ordered(
    instruction: Instruction, conv: Conv2D, runs: Runs, activation_range: tuple[int, int], im2col: bool
) -> Iterator[Instruction]:
    """The same instruction in an order of its own, with the longest chains that provably fit a layer's weights.

    Parameters
    ----------
    instruction : Instruction
        One whose lanes hold partial sums of a channel, or nothing comes of it.
    conv : Conv2D
    runs : callable
        As for `longer_chains`.
    activation_range : (int, int)
        As the instruction reads them, offset included.
    im2col : bool
        See `DirectTiling`.
    """
    if instruction.lanes_per_channel == 1 or conv.groups > 1:
        return
    size, channels = instruction.lanes_per_channel * instruction.pairs, conv.in_channels
    rows = [channels, channels * conv.kernel[1]] if conv.dilation[1] == 1 else [channels]
    uses = [row // size for row in rows if row % size == 0]
    if im2col:  # what is behind the last is multiplied by 0
        uses = [-(-channels * conv.kernel[0] * conv.kernel[1] // size)]
    for links in dict.fromkeys(largest_divisor(count, LINKS) for count in uses):
        if links > 1:
            single = with_chains(instruction, [1] * links)
            chains = longest_chains(_by_lane(single, runs(single)), activation_range, GROUP)
            if chains:
                yield with_chains(instruction, chains)


def lengths(conv: Conv2D, instruction: Instruction) -> Sequence[int]:
    """Chains to consider for a layer."""
    channels = conv.in_channels // conv.groups
    if instruction.lanes_per_channel == 1:
        # A kernel row of a few channels may fill chains of three or six links better.
        return (2, 3, 4, 6, 8) if channels < 16 else usual_lengths(instruction)
    row = channels * conv.kernel[1]
    size = instruction.lanes_per_channel * instruction.pairs
    links = [-(-run // size) for run in (channels, row, row * conv.kernel[0])]
    return [length for length in range(2, 17) if any(run % length == 0 for run in links)]


def usual_lengths(instruction: Instruction) -> Sequence[int]:
    """Of a layer of many channels: with six links, too, where additions take ports from multipliers."""
    return (2, 4, 8) if instruction.neon else (2, 4, 6, 8)


def longest_chains(weights: Weights, activation_range: tuple[int, int], group: int) -> list[int]:
    """How many links, one after the other, each int16 sum is to take: a list that adds up to all links.

    The fewest chains that provably fit; of these, those that end most often behind a multiple of `group` links. An
    empty list if a link alone does not fit.

    Parameters
    ----------
    weights : numpy.ndarray
        Axes (..., link, product, lane): an int16 sum of each lane takes all products of a link together. Whatever else
        there is goes through the same chains.
    activation_range : (int, int)
    group : int
    """
    links, *link = weights.shape[-3:]
    w = np.moveaxis(weights.reshape(-1, links, *link), 1, 0)
    none = np.zeros((1, *w.shape[1:-2], w.shape[-1]), "int32")
    greatest, least = (
        np.concatenate([none, np.cumsum(sums.sum(-2, dtype="int32"), 0, "int32")])
        for sums in extremes(w, activation_range)
    )
    # For the links before: chains, those of them that end within a group, their lengths.
    best: dict[int, tuple[int, int, list[int]]] = {0: (0, 0, [])}
    for end in range(1, links + 1):
        found = [
            (count + 1, within + bool(end % group), [*chains, end - start])
            for start, (count, within, chains) in best.items()
            if (greatest[end] - greatest[start]).max() <= INT16_MAX and (least[end] - least[start]).min() >= -INT16_MAX
        ]
        if found:
            best[end] = min(found)
    return best[links][-1] if links in best else []


def _by_lane(instruction: Instruction, weights: Weights) -> Weights:
    """Weights (..., link, input) as (..., link, product, lane): by the int16 lanes that add them up."""
    shape = weights.shape[:-1]
    if instruction.lanes_per_channel > 1:  # both halves of a register
        return weights.reshape(*shape, instruction.products, -1)
    return weights.reshape(*shape, -1, instruction.products).swapaxes(-1, -2)


def extremes(weights: Weights, activation_range: tuple[int, int]) -> tuple[Weights, Weights]:
    """The greatest and the least product of each weight, int32."""
    w = weights.astype("int32")
    low, high = (w * end for end in activation_range)
    return np.maximum(low, high), np.minimum(low, high)
