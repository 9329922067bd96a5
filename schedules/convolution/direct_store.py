"""From a tile's accumulators to a direct convolution's results. See `direct_schedule`."""

import math

from tvm import s_tir

from ..common.loops import loops
from ..processor import packing
from ..processor.i8mm import sums_of_pixels
from ..processor.neon import sum_of_parts
from .direct_plan import DirectPlan

WIDEST = 16  # channels stored at once


def store(sch: s_tir.Schedule, plan: DirectPlan, plain: bool = False) -> None:
    """From accumulators to the result, one pixel after the other."""
    out = loops(sch, "out")
    if not plan.instruction.matrix:  # whose accumulators are in memory
        sch.unroll(out.w)
    if plan.packs:
        sch.vectorize(out.c)
        _pack(sch, plan, plain)
        return
    vector, lane = sch.split(out.c, [None, math.gcd(plan.block, WIDEST)])
    sch.unroll(vector)
    sch.vectorize(lane)


def packing_blocks(plan: DirectPlan) -> list[str]:
    """What is between the accumulators and a packed result, the last first."""
    return ["packed", "requantized", *(["wide"] if plan.output.residual else [])]


def add_parts(sch: s_tir.Schedule) -> None:
    """Add the lanes of each channel, four channels at a time."""
    total = loops(sch, "total")
    four, c = sch.split(total.c, [None, 4])
    sch.unroll(total.w)
    sch.unroll(four)
    sch.tensorize(c, sum_of_parts())


def order_by_pixels(sch: s_tir.Schedule) -> None:
    """Two pixels' sums of four channels at a time."""
    total = loops(sch, "total")
    pair, w = sch.split(total.w, [None, 2])
    four, c = sch.split(total.c, [None, 4])
    sch.reorder(pair, four, w, c)
    sch.unroll(pair)
    sch.unroll(four)
    sch.tensorize(w, sums_of_pixels())


def _pack(sch: s_tir.Schedule, plan: DirectPlan, plain: bool) -> None:
    """From four vectors of accumulators to one of bytes."""
    for name in packing_blocks(plan):
        sch.set_scope(sch.get_sblock(name), 0, "local")
    vector, lane = sch.split(loops(sch, "requantized").i, [None, plan.instruction.lanes])
    sch.unroll(vector)
    sch.vectorize(lane)
    if plain:
        return
    sch.tensorize(loops(sch, "packed").i, packing.pack_intrinsic(plan.output.dtype))
    if plan.output.residual:
        sch.tensorize(loops(sch, "wide").i, packing.unpack_intrinsic())
