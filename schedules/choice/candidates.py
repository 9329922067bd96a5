"""Every way to compute a quantized convolution on a processor, with what each is estimated to cost."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..common.epilogue import Output
from ..common.overflow import INT32_MAX, Proof, accumulator_proof, folded_bias
from ..convolution import nibbles
from ..convolution.conv2d import Conv2D
from ..convolution.direct_conv import direct_conv
from ..convolution.direct_plan import DirectPlan, DirectTiling, pack_channels, pack_weights, weight_runs
from ..processor import instructions, sums
from ..processor.instruction import Instruction
from ..processor.machine import Machine
from ..sums import weights
from . import cost
from .candidate import Array, Candidate, Stored
from .chains import chain_proofs, lengths, ordered, with_lengths
from .left_out import SMALL_MULTIPLIER
from .tilings import chunk_of, depths, direct_tilings, layouts
from .winograd_candidates import along_rows, in_two_dimensions


def convolution_candidates(
    conv: Conv2D, weight: Array, bias: Array, multiplier: Array, source: Stored, output: Output, machine: Machine
) -> list[Candidate]:
    """Candidates that provably give the integer program's result, the cheapest first: see `considered`."""
    everything = considered(conv, weight, bias, multiplier, source, output, machine)
    return [candidate for candidate in everything if candidate.is_proven]


def considered(
    conv: Conv2D, weight: Array, bias: Array, multiplier: Array, source: Stored, output: Output, machine: Machine
) -> list[Candidate]:
    """All candidates, the cheapest first, those too whose proofs do not hold: they say what the proofs cost.

    Parameters
    ----------
    conv : Conv2D
    weight : numpy.ndarray
        int8 OIHW.
    bias : numpy.ndarray
        int32 (O,).
    multiplier : numpy.ndarray
        float32 (O,).
    source : Stored
        How the activations are stored.
    output : Output
    machine : Machine

    Raises
    ------
    ValueError
        If an accumulator could overflow, or the processor has no multiply instruction.
    """
    found = [
        *_direct(conv, weight, bias, multiplier, source, output, machine),
        *_of_sums(conv, weight, bias, multiplier, source, output, machine),
        *in_two_dimensions(conv, weight, bias, multiplier, source, output, machine),
        *along_rows(conv, weight, bias, multiplier, source, output, machine),
    ]
    return sorted(found, key=lambda candidate: candidate.cycles)


def product_candidates(
    conv: Conv2D, first: Stored, second: Stored, output: Output, machine: Machine
) -> list[Candidate]:
    """Candidates for a product of matrices, both of which are activations, the cheapest first.

    Direct convolutions, proven for any operands in their ranges. Their first constants, weights and bias, are to be
    packed while the network runs, for the plan that is the first argument of `make`.

    Parameters
    ----------
    conv : Conv2D
        From `eq_tvm.schedules.products.operand.product_shape`.
    first, second : Stored
        The second is within int8, which its elements become when it is packed.
    output : Output
    machine : Machine

    Raises
    ------
    ValueError
        If an accumulator could overflow, or the processor has no multiply instruction.
    """
    span, limit = (first.low, first.high), max(-second.low, second.high)
    total = Proof("sums in 32 bits", conv.in_channels // conv.groups * max(map(abs, span)) * limit, INT32_MAX)
    if not total.holds:
        raise ValueError("the sums of a product of matrices could leave 32 bits")
    found = (
        _tilings(conv, each, offset, first, output, machine, (), proofs=(total,))
        for ins, offset in instructions.choices(machine.instructions, span, limit)
        for variant in instructions.variants(ins)
        for each in depths(conv, variant, False)
    )
    return sorted(itertools.chain(*found), key=lambda candidate: candidate.cycles)


def float_candidates(
    conv: Conv2D, weight: Array, bias: Array, output: Output, machine: Machine, lanes: int
) -> list[Candidate]:
    """The same for a convolution of float32: direct ones only. `lanes` are those of a vector of float32."""
    ins = instructions.fma(lanes, machine.instructions)
    return sorted(
        _tilings(conv, ins, 0, Stored("float32", 0, 0), output, machine, (weight, bias)), key=lambda c: c.cycles
    )


def _direct(
    conv: Conv2D, weight: Array, bias: Array, multiplier: Array, source: Stored, output: Output, machine: Machine
) -> Iterator[Candidate]:
    span, limit = source.span, int(np.abs(weight.astype("int32")).max())
    for ins, offset in instructions.choices(machine.instructions, span, limit):
        yield from _direct_by(ins, offset, conv, weight, bias, multiplier, source, output, machine)


def _direct_by(
    ins: Instruction,
    offset: int,
    conv: Conv2D,
    weight: Array,
    bias: Array,
    multiplier: Array,
    source: Stored,
    output: Output,
    machine: Machine,
) -> Iterator[Candidate]:
    span, total = source.span, accumulator_proof(weight, bias, (source.low, source.high))
    folded = folded_bias(weight, bias, (source.low, source.high), offset + source.zero)

    def runs(im2col: bool, instruction: Instruction) -> Array:
        return weight_runs(DirectPlan(conv, instruction, output, DirectTiling(1, 1, im2col=im2col)), weight)

    for variant in instructions.variants(ins):
        for im2col in layouts(conv, variant):  # which products an int16 adds up depends on it
            proof = functools.partial(runs, im2col), (span[0] + offset, span[1] + offset)
            found = [*depths(conv, variant, im2col), *with_lengths(variant, lengths(conv, variant))]
            if machine.in_order:
                found += ordered(variant, conv, *proof, im2col)
            for instruction in found:
                proofs, constants = (total, *chain_proofs(instruction, *proof)), (weight, folded, multiplier)
                layer = conv, instruction, offset, source, output, machine
                yield from _tilings(*layer, constants, im2col, proofs)
                if nibbles.fits(weight, instruction):
                    yield from _nibbles(*layer, constants, im2col, proofs)


def _of_sums(
    conv: Conv2D, weight: Array, bias: Array, multiplier: Array, source: Stored, output: Output, machine: Machine
) -> Iterator[Candidate]:
    """Direct ones whose instruction multiplies sums: see `processor.sums`."""
    ins = instructions.of_sums(machine.instructions, source.dtype)
    if ins is None or conv.groups > 1:
        return
    added = sums.offset(source.span, weights.ends(weight))
    folded = folded_bias(weight, bias, (source.low, source.high), source.zero)
    constants, pack = (weight, folded, multiplier), functools.partial(weights.constants, span=source.span)
    proofs = (
        accumulator_proof(weight, bias, (source.low, source.high)),
        *weights.proofs(DirectPlan(conv, ins, output, DirectTiling(1, 1)), source.span, weight, folded),
    )
    yield from _tilings(conv, ins, added, source, output, machine, constants, proofs=proofs, pack=pack)


def _direct_constants(plan: DirectPlan, weight: Array, *channels: Array) -> tuple[Array, ...]:
    return pack_weights(plan, weight), *(pack_channels(plan, values) for values in channels)


def _tilings(
    conv: Conv2D,
    ins: Instruction,
    offset: int,
    source: Stored,
    output: Output,
    machine: Machine,
    constants: tuple[Array, ...],
    im2col: bool = False,
    proofs: tuple[Proof, ...] = (),
    packed: bool = False,
    pack: Callable[..., Sequence[Array]] = _direct_constants,
) -> Iterator[Candidate]:
    algorithm = "direct nibbles" if packed else "direct"
    for tiling in direct_tilings(conv, ins, packed):
        if tiling.im2col != im2col:
            continue
        plan = DirectPlan(conv, ins, output, tiling)
        plan = replace(plan, tiling=replace(tiling, chunk=chunk_of(plan, machine)))
        yield Candidate(
            f"direct {ins.name} {tiling.vectors}x{_pixels(tiling)}x{plan.tiling.chunk}"
            f"{f' by {ins.depth}' * ins.matrix}{' im2col' * tiling.im2col}{' nibbles' * packed}",
            algorithm,
            cost.direct_cycles(plan, machine),
            ins.name,
            conv.macs,
            functools.partial(direct_conv, plan, offset, source.dtype, source.zero),
            functools.partial(pack, plan, *constants),
            proofs,
            source,
        )


def _pixels(tiling: DirectTiling) -> str:
    """Of a tile, for people: "14", or "2*14" of two rows."""
    return f"{tiling.rows}*{tiling.tile}" if tiling.rows > 1 else str(tiling.tile)


def _nibbles(
    conv: Conv2D,
    ins: Instruction,
    offset: int,
    source: Stored,
    output: Output,
    machine: Machine,
    constants: tuple[Array, ...],
    im2col: bool,
    proofs: tuple[Proof, ...],
) -> Iterator[Candidate]:
    """The same with weights packed two to a byte; the first of the proofs is that of sums in 32 bits."""
    weight, bias, multiplier = constants
    factor = nibbles.factor(ins)
    if factor > 1:
        if (np.abs(multiplier) < SMALL_MULTIPLIER).any():
            return
        bias, multiplier = bias * np.int32(factor), multiplier / np.float32(factor)  # the bias may wrap as sums do
        proofs = (*proofs, Proof(f"{factor} times the sums in 32 bits", factor * proofs[0].reached, INT32_MAX))
    yield from _tilings(
        conv, ins, offset, source, output, machine, (weight, bias, multiplier), im2col, proofs, packed=True
    )
