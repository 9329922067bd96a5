"""The schedule of a convolution along rows; loops are called after the axes of its computation (`common.loops`).

for each row of activations, in parallel
pad it                                                              "padded"
for each pair and vector of input channels: B^T d                   "v"
for each chunk of rows and each block of output channels, in parallel
for each place, row, and tile of pairs in registers
for each kernel row and step: M += V U, in registers            "product"
write M back
for each row, pair and vector of output channels: A^T M, stored     "out"
"""

import math

from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV

from ..common.loops import along, loops
from ..common.lowered import lowered
from ..common.prefetch import prefetch
from ..common.sizes import innermost_width
from ..convolution.packed_stores import packed_stores
from .rowwise_form import RESULTS
from .rowwise_plan import RowwisePlan


def scheduled(func: tirx.PrimFunc, plan: RowwisePlan) -> tirx.PrimFunc:
    """The function that `rowwise_conv` writes down, with all its loops in order, as plain loops (see `lowered`)."""
    sch = s_tir.Schedule(func)
    _transform(sch, plan)
    shared = _store(sch, plan)
    _multiply(sch, plan, shared[-1])
    sch.parallel(sch.fuse(*shared))
    _by_instruction(sch, plan)
    return packed_stores(lowered(sch.mod["main"], aligned=not plan.instruction.neon), plan.instruction)


def _transform(sch: s_tir.Schedule, plan: RowwisePlan) -> None:
    """Row by row; the last vector of channels may not be full."""
    v = loops(sch, "v")
    row, c = sch.split(v.i, [plan.stored_rows, None])
    sch.reorder(v.n, row, v.t, c, v.p)
    sch.compute_at(sch.get_sblock("padded"), row, preserve_unit_loops=True)
    vector, lane = sch.split(c, [None, min(plan.channels, 4 * plan.instruction.lanes)])
    sch.reorder(v.t, vector, v.p, lane)
    sch.unroll(v.p)
    sch.vectorize(lane)
    sch.annotate(vector, "pragma_loop_partition_hint", True)
    copy = loops(sch, "padded")
    vector, lane = sch.split(copy.c, [None, plan.vector])
    for loop in (copy.w, vector):
        sch.annotate(loop, "pragma_loop_partition_hint", True)
    if plan.room != plan.conv.in_channels:
        sch.compute_at(sch.get_sblock("appended"), copy.w, preserve_unit_loops=True)
        sch.unroll(along(sch, "appended", "j")[-1])
    if plan.vector > 1:
        sch.vectorize(lane)
    sch.parallel(sch.fuse(v.n, row))


def _store(sch: s_tir.Schedule, plan: RowwisePlan) -> list[LoopRV]:
    """Pair by pair; returns the loops that threads share, the last over blocks."""
    out = loops(sch, "out")
    chunk, row = sch.split(out.h, [plan.chunks, plan.tiling.chunk])
    pair, result = sch.split(out.w, [None, RESULTS])
    neon = plan.instruction.neon  # which narrows the results of four vectors together
    width = innermost_width(math.gcd(plan.conv.out_channels, plan.block), (4 if neon else 1) * plan.instruction.lanes)
    block, vector, lane = sch.split(out.c, [plan.blocks, None, width])
    sch.reorder(out.n, chunk, block, row, pair, vector, result, lane)
    sch.unroll(result)
    sch.vectorize(lane)
    if not neon:  # which packs the results of several vectors
        sch.unroll(vector)
    return [out.n, chunk, block]


def _multiply(sch: s_tir.Schedule, plan: RowwisePlan, block: LoopRV) -> None:
    """Place by place, in registers, which are written back."""
    product, ins = sch.get_sblock("product"), plan.instruction
    sch.compute_at(product, block, preserve_unit_loops=True)
    write_back = sch.cache_write(product, 0, "local")
    at = loops(sch, product)
    group, tile = sch.split(at.t, [None, plan.tiling.tile])
    vector, lane = sch.split(at.i, [None, ins.lanes])
    inner = [getattr(at, name) for name in ("link", "pair") if hasattr(at, name)]
    sch.reorder(at.p, group, at.h, at.step, tile, vector, lane, *inner)  # rows share activations
    if not ins.neon:
        prefetch(sch, at.step, [group, at.h], plan.beyond_l1)
    sch.reverse_compute_at(write_back, at.h, preserve_unit_loops=True)
    *_, stored_tile, channel = sch.get_loops(write_back)
    stored_vector, stored_lane = sch.split(channel, [None, ins.lanes])
    sch.vectorize(stored_lane)
    for loop in (stored_tile, stored_vector, tile, vector):
        sch.unroll(loop)


def _by_instruction(sch: s_tir.Schedule, plan: RowwisePlan) -> None:
    product = sch.get_sblock("product")
    at = loops(sch, product)
    zero = sch.decompose_reduction(product, at.step)
    *_, vector, zero_lane = along(sch, zero, "i")
    for loop in (loops(sch, zero).t, vector):
        sch.unroll(loop)
    sch.vectorize(zero_lane)
    sch.tensorize(along(sch, product, "i")[-1], plan.instruction.intrinsic)
