"""The schedule of the Winograd kernel."""

from tvm import s_tir

from ..common.lowered import lowered
from ..common.prefetch import prefetch
from ..common.sizes import innermost_width
from ..processor.neon import load_ahead
from ..processor.ordered_int16 import product_function, product_intrinsic

SPILLED = 400_000  # bytes that a second cache of 1 MiB does not keep besides weights and products


def scheduled(func, plan):
    sch, conv, ins, tiling = s_tir.Schedule(func), plan.conv, plan.instruction, plan.tiling
    m, width = plan.winograd.m, 4 if ins.neon else ins.lanes  # int32 in a register
    columns, v, product, rows, out = map(sch.get_sblock, ["columns", "v", "product", "rows", "out"])
    n, h, w, c = sch.get_loops(out)
    s, r, h_i = sch.split(h, [plan.chunks, plan.tiling.chunk, m])
    w_o, w_i = sch.split(w, [None, m])
    b, c_o, lane = sch.split(c, [plan.blocks, None, innermost_width(conv.out_channels, width)])
    sch.reorder(n, s, b, r, w_o, c_o, h_i, w_i, lane)
    if not ins.neon:  # which has registers for a row of results, and waits for what is spilled
        sch.unroll(h_i)
    sch.unroll(w_i), sch.vectorize(lane)
    if ins.neon and plan.output.residual:
        load_ahead(sch, h_i)
    sch.set_scope(rows, 0, "local")
    sch.compute_at(rows, c_o, preserve_unit_loops=True)
    i, j, lane = sch.get_loops(rows)[-3:]
    sch.reorder(j, i, lane)
    sch.unroll(i), sch.unroll(j), sch.vectorize(lane)

    sch.compute_at(product, b, preserve_unit_loops=True)
    write_back = sch.cache_write(product, 0, "local")
    if not tiling.ahead:
        sch.compute_at(v, s, preserve_unit_loops=True)
    if tiling.pieces:
        p, t_o, c_o, t_i, lane = sch.get_loops(v)[-5:]
        tiles = t_o, t_i
    else:
        p, *tiles, c = sch.get_loops(v)[-3:]
        c_o, lane = sch.split(c, [None, innermost_width(plan.channels, 2 * width)])
    p_i, p_j = sch.split(p, [None, plan.winograd.alpha])
    sch.reorder(*tiles, c_o, p_i, p_j, lane)
    sch.unroll(p_i), sch.unroll(p_j), sch.vectorize(lane)
    sch.set_scope(columns, 0, "local")
    sch.compute_at(columns, c_o, preserve_unit_loops=True)
    i, j, lane = sch.get_loops(columns)[-3:]
    sch.reorder(j, i, lane)
    sch.unroll(i), sch.unroll(j), sch.vectorize(lane)
    if tiling.ahead:
        sch.parallel(sch.fuse(*sch.get_loops(v)[:3]))
    _schedule_padding(sch, plan, None if tiling.ahead else s)

    n, s, b = sch.get_loops(out)[:3]
    sch.parallel(sch.fuse(n, s, b) if tiling.ahead else sch.fuse(n, s))  # before reductions are decomposed
    _schedule_product(sch, plan, write_back)
    return lowered(sch.mod["main"], aligned=not ins.neon)


def _schedule_product(sch, plan, write_back):
    ins, tiling = plan.instruction, plan.tiling
    product = sch.get_sblock("product")
    p, t, i, step, *piece, pair = sch.get_loops(product)[-6 if tiling.pieces else -5 :]
    t_o, t_i = sch.split(t, [None, tiling.tile])
    if tiling.pieces:
        sch.reorder(p, t_o, step, t_i, i, *piece, pair)
        _schedule_write_back(sch, write_back, t_o, 4)
        init = sch.get_loops(sch.decompose_reduction(product, step))
        sch.vectorize(init[-1]), sch.unroll(init[-2])
        what = tiling.pieces, tiling.tile, tiling.vectors, plan.steps == tiling.pieces
        sch.annotate(step, "pragma_import_llvm", product_function(*what))
        sch.tensorize(t_i, product_intrinsic(*what))
        return
    vector, lane = sch.split(i, [None, ins.lanes])
    # Where instructions are issued too slowly, the loop's own count; elsewhere LLVM spills accumulators for it.
    step, several = sch.split(step, [None, 4 if ins.lanes < 16 and not ins.neon and plan.steps % 4 == 0 else 1])
    sch.reorder(p, t_o, step, several, t_i, vector, lane, pair)
    if not ins.neon:
        prefetch(sch, step, [t_o], plan.far, "v" if plan.v_bytes > SPILLED else "")
    _schedule_write_back(sch, write_back, t_o, ins.lanes)
    init = sch.get_loops(sch.decompose_reduction(product, step))
    sch.vectorize(init[-1]), sch.unroll(init[-2]), sch.unroll(init[-3])
    sch.unroll(several), sch.unroll(t_i), sch.unroll(vector)
    sch.tensorize(lane, ins.name)


def _schedule_write_back(sch, write_back, tiles, lanes):
    sch.reverse_compute_at(write_back, tiles, preserve_unit_loops=True)
    loops = sch.get_loops(write_back)
    vector, lane = sch.split(loops[-1], [None, lanes])
    sch.vectorize(lane), sch.unroll(vector), sch.unroll(loops[-2])


def _schedule_padding(sch, plan, chunk):
    """Pad the whole input, or, where there is a loop over chunks, what a chunk needs."""
    blocks = {sch.get(block).name_hint: block for block in sch.get_child_blocks(sch.get_sblock("root"))}
    if "padded" not in blocks:
        return
    padded = blocks["padded"]
    if chunk is not None:
        sch.compute_at(padded, chunk, preserve_unit_loops=True)
    *outer, c = sch.get_loops(padded)
    sch.vectorize(sch.split(c, [None, innermost_width(plan.channels, 64)])[1])
    if chunk is None:
        sch.parallel(sch.fuse(*outer[:2]))
