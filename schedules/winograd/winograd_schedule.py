"""The schedule of the Winograd kernel; loops are called after the axes of its computation (`common.loops`).

    for each chunk of each image, in parallel
        pad what the chunk needs                                            "padded"
        for each tile and vector of input channels
            B^T d, into registers; V = (B^T d) B                            "columns", "v"
        for each block of output channels
            for each place, and each group of tiles in registers
                for each step: M += V U, in registers; write M back         "product"
            for each tile and vector of output channels
                A^T M, into registers; Y = (A^T M) A, stored                "rows", "out"

If the whole input is transformed `ahead`, padding and V are loops of their own, and threads take blocks, too.
"""

from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ..common.loops import loops
from ..common.lowered import lowered
from ..common.prefetch import prefetch
from ..common.sizes import innermost_width
from ..convolution.packed_stores import packed_stores
from ..processor.neon import load_ahead
from ..processor.ordered_int16 import product_function, product_intrinsic
from .winograd_plan import Part, WinogradPlan
from .winograd_sums import multiply_tiles, place_tiles

SPILLED = 400_000  # bytes that a second cache of 1 MiB does not keep besides weights and products


def scheduled(func: tirx.PrimFunc, plan: WinogradPlan) -> tirx.PrimFunc:
    """The function that `winograd_conv` writes down, with all its loops in order, as plain loops (see `lowered`)."""
    sch, ahead = s_tir.Schedule(func), plan.tiling.ahead
    image, chunk, block, vector = _order_output(sch, plan)
    _place_output_transform(sch, vector)
    parts = plan.parts
    write_back = [_place_products(sch, part, block) for part in parts]
    for part in parts if plan.instruction.sums else ():
        place_tiles(sch, part, None if ahead else chunk)
    for part in parts:
        _place_input_transform(sch, plan, part, None if ahead else chunk)
    _place_padding(sch, plan, None if ahead else chunk)
    # before reductions are decomposed
    sch.parallel(sch.fuse(image, chunk, block) if ahead else sch.fuse(image, chunk))
    for part in parts if plan.instruction.sums else ():
        multiply_tiles(sch, plan, part)
    for part, written in zip(parts, write_back, strict=True):
        if plan.tiling.pieces:
            _multiply_in_assembly(sch, plan, part, written)
        else:
            _multiply_by_instruction(sch, plan, part, written)
    return packed_stores(lowered(sch.mod["main"], aligned=not plan.instruction.neon), plan.instruction)


def _order_output(sch: s_tir.Schedule, plan: WinogradPlan) -> tuple[LoopRV, LoopRV, LoopRV, LoopRV]:
    """Store tile by tile; returns the loops over images, chunks, blocks, and vectors of a tile's channels."""
    m, neon = plan.winograd.m, plan.instruction.neon
    out = loops(sch, "out")
    chunk, row, h = sch.split(out.h, [plan.chunks, plan.tiling.chunk, m])
    tile, w = sch.split(out.w, [None, m])
    width = innermost_width(plan.conv.out_channels, _int32_lanes(plan))
    block, vector, lane = sch.split(out.c, [plan.blocks, None, width])
    sch.reorder(out.n, chunk, block, row, tile, vector, h, w, lane)
    if not neon:  # which has registers for a row of results, and waits for what is spilled
        sch.unroll(h)
    sch.unroll(w)
    sch.vectorize(lane)
    for loop in (row, tile) if plan.tiling.edges else ():
        sch.annotate(loop, "pragma_loop_partition_hint", True)  # the last apart
    if neon and plan.output.residual:
        load_ahead(sch, h)
    return out.n, chunk, block, vector


def _place_output_transform(sch: s_tir.Schedule, vector: LoopRV) -> None:
    """Transform the rows of M in registers, for one tile and vector of channels."""
    rows = sch.get_sblock("rows")
    sch.set_scope(rows, 0, "local")
    sch.compute_at(rows, vector, preserve_unit_loops=True)
    _write_out(sch, rows)


def _place_products(sch: s_tir.Schedule, part: Part, block: LoopRV) -> SBlockRV:
    """Multiply block by block, in registers; returns what writes M back."""
    product = sch.get_sblock(part.named("product"))
    sch.compute_at(product, block, preserve_unit_loops=True)
    return sch.cache_write(product, 0, "local")


def _place_input_transform(sch: s_tir.Schedule, plan: WinogradPlan, part: Part, chunk: LoopRV | None) -> None:
    """Transform vectors of input channels, tile by tile: those of a chunk, or, where there is none, all in parallel."""
    v, columns = sch.get_sblock(part.named("v")), sch.get_sblock(part.named("columns"))
    if chunk is not None:
        sch.compute_at(v, chunk, preserve_unit_loops=True)
    at = loops(sch, v)
    if plan.tiling.pieces:
        tiles, vector, lane = [at.t_o, at.t], at.step, at.c
    else:
        width = innermost_width(plan.channels, 2 * _int32_lanes(plan))  # of int16
        tiles, (vector, lane) = [at.t], sch.split(at.c, [None, width])
    place_row, place_column = sch.split(at.p, [None, len(part.place_columns)])
    sch.reorder(*tiles, vector, place_row, place_column, lane)
    sch.unroll(place_row)
    sch.unroll(place_column)
    sch.vectorize(lane)
    sch.set_scope(columns, 0, "local")
    sch.compute_at(columns, vector, preserve_unit_loops=True)
    _write_out(sch, columns)
    if chunk is None:
        sch.parallel(sch.fuse(at.n, at.s, tiles[0]))


def _place_padding(sch: s_tir.Schedule, plan: WinogradPlan, chunk: LoopRV | None) -> None:
    """Pad what a chunk needs, or, where there is none, the whole input in parallel."""
    blocks = {sch.get(block).name_hint: block for block in sch.get_child_blocks(sch.get_sblock("root"))}
    padded = blocks.get("padded")
    if padded is None:
        return
    if chunk is not None:
        sch.compute_at(padded, chunk, preserve_unit_loops=True)
    image = blocks.get("image")
    if image is not None:
        if chunk is not None:
            sch.compute_at(image, chunk, preserve_unit_loops=True)
        sch.annotate(loops(sch, image).i, "pragma_loop_partition_hint", True)  # the row between its padding
    at = loops(sch, padded)
    _, lane = sch.split(at.c, [None, innermost_width(plan.run, 64)])
    sch.vectorize(lane)
    if chunk is None:
        for each in (at, *([] if image is None else [loops(sch, image)])):
            sch.parallel(sch.fuse(each.n, each.h))


def _multiply_by_instruction(sch: s_tir.Schedule, plan: WinogradPlan, part: Part, write_back: SBlockRV) -> None:
    """Keep the sums of some tiles and vectors in registers over all steps."""
    ins, product = plan.instruction, sch.get_sblock(part.named("product"))
    at = loops(sch, product)
    group, tile = sch.split(at.t, [None, part.tile])
    vector, lane = sch.split(at.i, [None, ins.lanes])
    # Where instructions are issued too slowly, the loop's own count; elsewhere LLVM spills accumulators for it.
    many = 4 if ins.lanes < 16 and not ins.neon and plan.steps % 4 == 0 else 1
    step, several = sch.split(at.step, [None, many])
    sch.reorder(at.p, group, step, several, tile, vector, lane, *([at.pair] if hasattr(at, "pair") else []))
    if not ins.neon:
        prefetch(sch, step, [group], plan.beyond_l1, part.named("v") if plan.v_bytes > SPILLED else "")
    _place_write_back(sch, write_back, group, ins.lanes)
    *_, zero_tile, zero_vector, zero_lane = sch.get_loops(sch.decompose_reduction(product, step))
    sch.vectorize(zero_lane)
    for loop in (zero_vector, zero_tile, several, tile, vector):
        sch.unroll(loop)
    sch.tensorize(lane, ins.intrinsic)


def _multiply_in_assembly(sch: s_tir.Schedule, plan: WinogradPlan, part: Part, write_back: SBlockRV) -> None:
    """The same, where each piece of several steps is written down in assembly (see `ordered_int16`)."""
    tiling, product = plan.tiling, sch.get_sblock(part.named("product"))
    at = loops(sch, product)
    group, tile = sch.split(at.t, [None, tiling.tile])
    sch.reorder(at.p, group, at.step, tile, at.i, at.piece, at.pair)
    _place_write_back(sch, write_back, group, 4)
    *_, zero_tile, zero_lane = sch.get_loops(sch.decompose_reduction(product, at.step))
    sch.vectorize(zero_lane)
    sch.unroll(zero_tile)
    what = tiling.pieces, tiling.tile, tiling.vectors, plan.steps == tiling.pieces
    sch.annotate(at.step, "pragma_import_llvm", product_function(*what))
    sch.tensorize(tile, product_intrinsic(*what))


def _place_write_back(sch: s_tir.Schedule, write_back: SBlockRV, group: LoopRV, lanes: int) -> None:
    """Write the sums of a group of tiles back, in vectors of `lanes`."""
    sch.reverse_compute_at(write_back, group, preserve_unit_loops=True)
    *_, tile, channel = sch.get_loops(write_back)
    vector, lane = sch.split(channel, [None, lanes])
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.unroll(tile)


def _write_out(sch: s_tir.Schedule, half: SBlockRV) -> None:
    """The first half of a transform without loops: for each column of a tile, all its rows."""
    at = loops(sch, half)
    sch.reorder(at.j, at.i, at.c)
    sch.unroll(at.i)
    sch.unroll(at.j)
    sch.vectorize(at.c)


def _int32_lanes(plan: WinogradPlan) -> int:
    """How many int32 a register holds."""
    return 4 if plan.instruction.neon else plan.instruction.lanes
