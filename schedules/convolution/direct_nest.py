"""The outer loops of a direct convolution: what threads share, and what lies around a tile. See `direct_schedule`."""

from dataclasses import dataclass

from tvm import s_tir
from tvm.s_tir.schedule import LoopRV

from ..common.loops import loops
from ..common.sizes import largest_divisor
from ..processor import packing
from .direct_plan import TILES, DirectPlan
from .direct_store import packing_blocks


@dataclass(frozen=True)
class Nest:
    """Loops around a tile, outermost first: those that threads share, the last over blocks, and those over tiles."""

    shared: list[LoopRV]
    tiles: list[LoopRV]


def hold_accumulators(sch: s_tir.Schedule, plan: DirectPlan) -> Nest:
    """Compute a tile's accumulators in registers, and store its results before the next tile's."""
    sch.set_scope(sch.get_sblock("acc"), 0, "local")
    return _nest_of_result(sch, plan) if plan.packs else _nest_of_accumulators(sch, plan)


def share_among_threads(sch: s_tir.Schedule, plan: DirectPlan, nest: Nest) -> None:
    """Before the reduction is decomposed, as TVM asks. What is copied for a place serves all of its blocks."""
    copied = plan.tiling.im2col or plan.copies_by_chunk
    shared = sch.fuse(*(nest.shared[:-1] if copied else nest.shared))
    sch.parallel(shared)
    if plan.tiling.im2col:
        sch.compute_at(sch.get_sblock("im2col"), shared)
        sch.split(loops(sch, "im2col").k, [None, plan.row])
    elif copied:
        sch.compute_at(sch.get_sblock("prepared"), shared, preserve_unit_loops=True)


def share_copy(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """Threads share the rows of the copy, or the pixels of a single row as they share these later."""
    copy = loops(sch, "prepared")
    shared = [copy.n, copy.h]
    if plan.conv.out_height == 1 and plan.row == plan.group_in and not plan.tiling.im2col:
        columns, _ = sch.split(copy.w, [None, plan.tiling.tile * plan.tiling.chunk])
        shared.append(columns)
    sch.parallel(sch.fuse(*shared))


def copy_by_vectors(sch: s_tir.Schedule, plan: DirectPlan) -> None:
    """Pixels are copied by vectors of channels."""
    copy = loops(sch, "prepared")
    if plan.row != plan.group_in or plan.tiling.im2col:  # rows: what lies inside is copied at once
        sch.annotate(copy.i, "pragma_loop_partition_hint", True)
        return
    extent = int(sch.get(copy.k).extent)
    width = next((w for w in (64, 32, 16, 8, 4) if extent % w == 0), None)
    if width:
        sch.vectorize(sch.split(copy.k, [None, width])[1])


def _nest_of_accumulators(sch: s_tir.Schedule, plan: DirectPlan) -> Nest:
    """The outer loops around whole blocks of accumulators, of which the result takes what it has room for."""
    acc = loops(sch, "acc")
    tile, w = sch.split(acc.w, [None, plan.tiling.tile // plan.instruction.pixels])
    h, rows = _rows_of_tile(sch, plan, acc.h)
    places, tiles = _cut_into_places(sch, plan, h, tile)
    sch.reorder(acc.n, acc.g, *places, acc.b, *tiles, *rows, w, acc.i)
    stored = tiles[-1]
    if plan.instruction.lanes_per_channel > 1:
        # Few results: several tiles' are stored together, so that none waits for another.
        stored, last = sch.split(stored, [None, largest_divisor(int(sch.get(stored).extent), TILES)])
        tiles = [*tiles[:-1], stored, last]
        _order_sums(sch, last)
    elif plan.instruction.pixels > 1:
        _order_sums(sch, stored)
    sch.reverse_compute_at(sch.get_sblock("out"), stored, preserve_unit_loops=True)
    return Nest([acc.n, acc.g, *places, acc.b], tiles)


def _order_sums(sch: s_tir.Schedule, tile: LoopRV) -> None:
    """What lanes hold becomes sums by pixels and channels, tile by tile."""
    sch.set_scope(sch.get_sblock("total"), 0, "local")
    sch.reverse_compute_at(sch.get_sblock("total"), tile, preserve_unit_loops=True)


def _nest_of_result(sch: s_tir.Schedule, plan: DirectPlan) -> Nest:
    """The same around the result, where it consists of whole blocks."""
    out = loops(sch, "out")
    tile, w = sch.split(out.w, [None, plan.tiling.tile])
    b, c = sch.split(out.c, [None, packing.BLOCK])
    h, rows = _rows_of_tile(sch, plan, out.h)
    places, tiles = _cut_into_places(sch, plan, h, tile)
    group = [out.g] if plan.conv.groups > 1 else []
    sch.reorder(out.n, *group, *places, b, *tiles, *rows, w, c)
    for name in packing_blocks(plan):
        sch.compute_at(sch.get_sblock(name), w)
    sch.compute_at(sch.get_sblock("acc"), tiles[-1], preserve_unit_loops=True)
    return Nest([out.n, *group, *places, b], tiles)


def _rows_of_tile(sch: s_tir.Schedule, plan: DirectPlan, row: LoopRV) -> tuple[LoopRV, list[LoopRV]]:
    """A loop over rows of tiles, and where a matrix has pixels of several rows, one over these."""
    if not plan.instruction.matrix:
        return row, []
    row, inner = sch.split(row, [None, plan.tiling.rows])
    return row, [inner]


def _cut_into_places(
    sch: s_tir.Schedule, plan: DirectPlan, row: LoopRV, tile: LoopRV
) -> tuple[list[LoopRV], list[LoopRV]]:
    """Loops over chunks of rows (of tiles in a single row), and loops over the tiles of a chunk."""
    if plan.conv.out_height > 1:
        chunk, row = sch.split(row, [None, plan.tiling.chunk])
        return [chunk], [row, tile]
    chunk, tile = sch.split(tile, [None, plan.tiling.chunk])
    return [row, chunk], [tile]
