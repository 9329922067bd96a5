"""Every way to compute a quantized convolution on a processor, with what each is estimated to cost."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..convolution import winograd_form, winograd_plan
from ..convolution.direct_conv import direct_conv
from ..convolution.direct_plan import DirectPlan, DirectTiling, pack_channels, pack_weights
from ..convolution.winograd import winograd_conv
from ..processor import instructions
from ..processor.ordered import ordered
from . import cost, overflow


@dataclass(frozen=True)
class Candidate:
    """One kernel for one layer.

    Parameters
    ----------
    name : str
        Algorithm, instruction and tiling, for people and as a key.
    cycles : float
        Estimated cycles of one core.
    instruction : str
        What multiplies.
    multiplications : float
        How many multiply-accumulates of that instruction the layer takes, without padding.
    make : callable
        Returns the scheduled PrimFunc.
    constants : callable
        Returns its weights, bias and multiplier, as arrays.
    """

    name: str
    cycles: float
    instruction: str
    multiplications: float
    make: Callable
    constants: Callable[[], Sequence[np.ndarray]]


def convolution_candidates(conv, weight, bias, multiplier, source, output, machine):
    """Candidates that provably give the integer program's result, the cheapest first.

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
        *_winograd(conv, weight, bias, multiplier, source, output, machine),
    ]
    return sorted(found, key=lambda candidate: candidate.cycles)


def float_candidates(conv, weight, bias, output, machine, lanes):
    """The same for a convolution of float32: direct ones only. `lanes` are those of a vector of float32."""
    ins = instructions.fma(lanes, machine.instructions)
    return sorted(_tilings(conv, ins, 0, "float32", output, machine, (weight, bias)), key=lambda c: c.cycles)


@dataclass(frozen=True)
class Stored:
    """How a quantized tensor is stored.

    Parameters
    ----------
    dtype : str
    low, high : int
        The range of its integers.
    """

    dtype: str
    low: int
    high: int


def _direct(conv, weight, bias, multiplier, source, output, machine):
    span = source.low, source.high
    ins, offset = instructions.choose(machine.instructions, span, int(np.abs(weight.astype("int32")).max()))
    folded = overflow.folded_bias(weight, bias, span, offset)

    def packed(patches, instruction):
        tiling = DirectTiling(1, 1, patches=patches)
        return pack_weights(DirectPlan(conv, instruction, output, tiling), weight)

    for form in instructions.forms(ins):
        for patches in cost.layouts(conv, form):  # which products an int16 adds up depends on it
            proof = functools.partial(packed, patches), (span[0] + offset, span[1] + offset)
            found = [form, *overflow.longer_chains(form, *proof, _lengths(conv, form))]
            if cost.in_order(machine):
                found += ordered(form, conv, *proof, patches)
            for instruction in found:
                yield from _tilings(
                    conv, instruction, offset, source.dtype, output, machine, (weight, folded, multiplier), patches
                )


def _lengths(conv, ins):
    """Chains to consider."""
    channels = conv.in_channels // conv.groups
    if ins.parts == 1:  # a kernel row of a few channels may fill chains of three or six links better
        return (2, 3, 4, 6, 8) if channels < 16 else (2, 4, 8)
    row = channels * conv.kernel[1]
    runs = [-(-run // (ins.parts * ins.pairs)) for run in (channels, row, row * conv.kernel[0])]
    return [length for length in range(2, 17) if any(run % length == 0 for run in runs)]


def _tilings(conv, ins, offset, dtype, output, machine, constants, patches=False):
    for tiling in cost.direct_tilings(conv, ins):
        if tiling.patches != patches:
            continue
        plan = DirectPlan(conv, ins, output, tiling)
        plan = replace(plan, tiling=replace(tiling, chunk=cost.chunk_of(plan, machine)))
        yield Candidate(
            f"direct {_short(ins)} {tiling.vectors}x{tiling.tile}x{plan.tiling.chunk}{' patches' * tiling.patches}",
            cost.direct_cycles(plan, machine),
            _short(ins),
            conv.macs,
            functools.partial(direct_conv, plan, offset, dtype),
            functools.partial(_direct_constants, plan, *constants),
        )


def _direct_constants(plan, weight, *channels):
    return pack_weights(plan, weight), *(pack_channels(plan, values) for values in channels)


def _winograd(conv, weight, bias, multiplier, source, output, machine):
    ins = instructions.choose_int16(machine.instructions)
    if (
        ins is None or not winograd_plan.fits(conv) or (np.abs(multiplier) < 2.0**-100).any()
    ):  # divided, it must stay normal
        return
    for form in winograd_form.FORMS:
        if not winograd_form.is_exact(form, weight, bias, (source.low, source.high)):
            continue
        for tiling in cost.winograd_tilings(conv, form, ins):
            if tiling.pieces and not cost.in_order(machine):
                continue
            plan = winograd_plan.WinogradPlan(conv, form, ins, output, tiling)
            yield Candidate(
                f"F({form.m},3) {_short(ins)} {tiling.vectors}x{tiling.tile}x{tiling.chunk}"
                f"{' ahead' if tiling.ahead else ''}{' ordered' if tiling.pieces else ''}",
                cost.winograd_cycles(plan, machine),
                _short(ins),
                conv.macs * form.alpha**2 / (9 * form.m**2),
                functools.partial(winograd_conv, plan, 0, source.dtype),
                functools.partial(winograd_plan.constants, plan, weight, bias, multiplier),
            )


def _short(instruction):
    return instruction.name.removeprefix("eq_tvm.")
