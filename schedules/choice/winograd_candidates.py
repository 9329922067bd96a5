"""The ways to compute a convolution by Winograd's algorithm; parameters are those of `candidates.considered`."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np

from ..common.epilogue import Output
from ..common.overflow import folded_bias
from ..convolution.conv2d import Conv2D
from ..processor import instructions
from ..processor.machine import Machine
from ..rowwise import rowwise_form, rowwise_plan
from ..rowwise.rowwise_conv import rowwise_conv
from ..winograd import winograd_form, winograd_plan, winograd_weights
from ..winograd.winograd import winograd_conv
from . import cost
from .candidate import Array, Candidate, Stored
from .left_out import SMALL_MULTIPLIER, why_no_winograd
from .tilings import rowwise_tilings, winograd_tilings

FEW_APPENDED = 4  # channels, as many as any use of an instruction takes


def in_two_dimensions(
    conv: Conv2D, weight: Array, bias: Array, multiplier: Array, source: Stored, output: Output, machine: Machine
) -> Iterator[Candidate]:
    """F(4,3) and F(2,3) for 3x3 kernels, F(3,4) for 4x4, or what is so by phases; instructions multiply 16 bits."""
    chosen = instructions.choose_int16(machine.instructions)
    if chosen is None or why_no_winograd(conv, multiplier, source.dtype, machine.instructions):
        return
    folded = folded_bias(weight, bias, (source.low, source.high), source.zero)
    found = (chosen, instructions.of_sums(machine.instructions, "int16"))
    forms = [form for form in winograd_form.FORMS if winograd_plan.fits(conv, form)]
    phases = winograd_form.phases(weight, conv.strides[0])
    for form, ins in itertools.product(forms, filter(None, found)):
        of_tiles = [
            winograd_form.proofs(form, phases, folded, source.span, ins.sums, edges)
            for edges in ((None, None), winograd_plan.edges_of(conv, form))
        ]
        for tiling in winograd_tilings(conv, form, ins):
            if tiling.pieces and not machine.in_order:
                continue
            plan = winograd_plan.WinogradPlan(conv, form, ins, output, tiling)
            yield Candidate(
                f"{form.name} {ins.name} {tiling.vectors}x{tiling.tile}x{tiling.chunk}"
                f"{' ahead' if tiling.ahead else ''}{' ordered' if tiling.pieces else ''}"
                f"{' edges' if tiling.edges else ''}",
                form.name,
                cost.winograd_cycles(plan, machine),
                ins.name,
                conv.macs * (conv.strides[0] * form.alpha) ** 2 / (math.prod(conv.kernel) * form.m**2),
                functools.partial(winograd_conv, plan, source.zero, source.dtype),
                functools.partial(winograd_weights.constants, plan, phases, folded, multiplier),
                of_tiles[tiling.edges],
                source,
            )


def along_rows(
    conv: Conv2D, weight: Array, bias: Array, multiplier: Array, source: Stored, output: Output, machine: Machine
) -> Iterator[Candidate]:
    """F(2,3) for kernels of three columns, by instructions that multiply bytes."""
    if not rowwise_plan.fits(conv) or (np.abs(multiplier) < SMALL_MULTIPLIER).any():
        return
    span = min(source.span[0], source.zero), max(source.span[1], source.zero)  # padding is among them
    spread = rowwise_form.centered_range(span)
    if spread[1] > rowwise_form.BYTE:
        return
    folded = folded_bias(weight, bias, (source.low, source.high), source.zero)
    proofs, weights = rowwise_form.proofs(weight, folded, span), rowwise_form.transformed_weights(weight)
    if len(weights.appended) > max(FEW_APPENDED, conv.in_channels // 4):  # little would be saved
        return
    for chosen, offset in instructions.choices(machine.instructions, spread, rowwise_form.BYTE):
        for ins in filter(rowwise_plan.serves, instructions.variants(chosen)):
            for tiling in rowwise_tilings(conv, ins):
                plan = rowwise_plan.RowwisePlan(conv, ins, output, tiling, weights.appended, offset)
                yield Candidate(
                    f"rows F(2,3) {ins.name} {tiling.vectors}x{tiling.tile}x{tiling.chunk}",
                    "rows F(2,3)",
                    cost.rowwise_cycles(plan, machine),
                    ins.name,
                    conv.macs * 2 / 3 * plan.channels / conv.in_channels,
                    functools.partial(rowwise_conv, plan, span, source.zero, source.dtype),
                    functools.partial(rowwise_plan.constants, plan, weights, span, folded, multiplier),
                    proofs,
                    source,
                )
