"""Winograd convolution over the integers: a kernel for F(2x2, 3x3) and F(4x4, 3x3).

The algorithm (Lavin and Gray, arXiv 1509.09308) with all matrices scaled to integers: tiles of the input become
V = B^T x B (int16), weights U = G w G^T (int16, packed ahead of time); for each of the alpha^2 places in a tile a
matrix product M = V U (int32); and A^T M A = factor^2 * acc, which gives acc back exactly (`winograd_plan`).
"""

from tvm import s_tir, te, tirx

from ..common.lowered import cropped, lowered
from ..common.prefetch import prefetch
from ..common.sizes import innermost_width
from ..processor.neon import load_ahead
from ..processor.ordered_int16 import product_function, product_intrinsic

SPILLED = 400_000  # bytes that a second cache of 1 MiB does not keep besides weights and products


def winograd_conv(plan, offset, dtype):
    """Scheduled PrimFunc of a 3x3 convolution.

    Parameters
    ----------
    plan : WinogradPlan
    offset : int
        What padding is filled with: the stored form of 0.
    dtype : str
        Dtype of the stored activations, shape (batch, height, width, in_channels).

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, weights, bias and multiplier as `constants` makes them, limits, the residual if there is
        one, and the result, both NHWC.
    """
    conv, winograd, instruction, output = plan.conv, plan.winograd, plan.instruction, plan.output
    m, alpha, block = winograd.m, winograd.alpha, plan.block
    x = te.placeholder((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x")
    weights = te.placeholder(plan.weight_shape, "int16", "weights")
    bias = te.placeholder((plan.blocks * block,), "int32", "bias")
    multiplier = te.placeholder((plan.blocks * block,), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.nhwc_shape, output.residual, "residual") if output.residual else None

    padded = _padded(x, plan, offset)
    columns = te.compute(
        (conv.batch, plan.rows, plan.cols, alpha, alpha, plan.channels),
        lambda n, r, q, i, j, c: _transform(
            winograd.b, i, [padded[n, r * m + k, q * m + j, c].astype("int16") for k in range(alpha)], "int16"
        ),
        "columns",
    )
    depth, lanes, tile, pieces = instruction.depth, instruction.lanes, plan.tiling.tile, plan.tiling.pieces

    def transformed(n, s, p, t, c):
        return _transform(
            winograd.b,
            p % alpha,
            [
                columns[
                    n,
                    s * plan.tiling.chunk + te.min(t, plan.tiles - 1) // plan.cols,
                    te.min(t, plan.tiles - 1) % plan.cols,
                    p // alpha,
                    k,
                    c,
                ]
                for k in range(alpha)
            ],
            "int16",
        )

    places = (conv.batch, plan.chunks, alpha * alpha)
    if pieces:  # in the order in which it is read
        v = te.compute(
            (*places, plan.padded_tiles // tile, plan.steps, tile, depth),
            lambda n, s, p, t_o, step, t, c: transformed(n, s, p, t_o * tile + t, step * depth + c),
            "v",
        )
    else:
        v = te.compute((*places, plan.padded_tiles, plan.channels), transformed, "v")
    step, pair = te.reduce_axis((0, plan.steps // max(1, pieces)), "step"), te.reduce_axis((0, depth), "pair")
    piece = [te.reduce_axis((0, pieces), "piece")] if pieces else []

    def multiply(n, s, b, p, t, i):
        if pieces:
            at = step * pieces + piece[0]
            activation, weight = v[n, s, p, t // tile, at, t % tile, pair], weights[b, p, at, pair, i]
        else:
            lane = (i % lanes, pair) if instruction.chain == 1 else (pair, i % lanes)
            activation, weight = v[n, s, p, t, step * depth + pair], weights[(b, p, step, i // lanes, *lane)]
        return te.sum(activation.astype("int32") * weight.astype("int32"), axis=[step, *piece, pair])

    product = te.compute(
        (conv.batch, plan.chunks, plan.blocks, alpha * alpha, plan.padded_tiles, block), multiply, "product"
    )

    def biased(n, r, q, k, j, c):
        tile = (r % plan.tiling.chunk) * plan.cols + q
        if plan.padded_tiles > plan.tiles:  # or only the tiles that are read would be computed
            tile = tirx.reinterpret("int32", tile.astype("uint32"))
        at = product[n, r // plan.tiling.chunk, c // block, k * alpha + j, tile, c % block]
        return at + tirx.Select(j == 1, bias[c], tirx.const(0, "int32")) if k == 1 else at

    rows = te.compute(
        (conv.batch, plan.rows, plan.cols, m, alpha, plan.blocks * block),
        lambda n, r, q, i, j, c: _transform(winograd.a, i, [biased(n, r, q, k, j, c) for k in range(alpha)], "int32"),
        "rows",
    )

    def added(n, h, w, c):
        inside = (n, te.min(h, conv.out_height - 1), te.min(w, conv.out_width - 1), te.min(c, conv.out_channels - 1))
        return residual[inside].astype("int32")

    stored = (conv.batch, plan.rows * m, plan.cols * m, plan.blocks * block)
    if instruction.neon and output.residual:
        added = te.compute(stored, added, "added")

    def store(n, h, w, c):
        acc = _transform(winograd.a, w % m, [rows[n, h // m, w // m, h % m, k, c] for k in range(alpha)], "int32")
        if winograd.inverse != 1:
            # Reinterpreted, or the simplifier multiplies it by other constants, beyond int32.
            acc = acc * tirx.reinterpret("int32", tirx.const(winograd.inverse, "uint32"))
        value = None if not output.residual else added[n, h, w, c] if instruction.neon else added(n, h, w, c)
        return output.store(acc, multiplier[c], limits, value)

    out = te.compute(stored, store, "out")
    args = [x, weights, bias, multiplier, limits, *([residual] if output.residual else []), out]
    return cropped(_schedule(te.create_prim_func(args), plan), conv.nhwc_shape)


def _padded(x, plan, offset):
    conv, m = plan.conv, plan.winograd.m
    shape = (conv.batch, plan.rows * m + 2, plan.cols * m + 2, plan.channels)
    top, left, _, _ = conv.padding
    if shape == tuple(int(extent) for extent in x.shape):
        return x
    fill = tirx.const(offset, x.dtype)

    def value(n, h, w, c):
        inside = [h >= top, h < top + conv.height, w >= left, w < left + conv.width]
        if plan.channels != conv.in_channels:
            inside.append(c < conv.in_channels)
        return te.if_then_else(te.all(*inside), x[n, h - top, w - left, c], fill)

    return te.compute(shape, value, "padded")


def _transform(product, row, terms, dtype):
    """Element `row`, the variable of a loop that will be unrolled, of a product with B^T or A^T."""
    *first, value = product(terms, lambda term, k: term * tirx.const(k, dtype))
    for k in range(len(first) - 1, -1, -1):
        value = tirx.Select(row == k, first[k], value)
    return value


def _schedule(func, plan):
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
    sch.tensorize(lane, ins.intrinsic)


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
