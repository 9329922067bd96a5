"""Direct convolution: a tile of output pixels by a block of output channels, held in registers.

The algorithm: an NHWC activation, padded (and offset or widened where the instruction asks for it), times packed
weights (see `direct_plan`), then the epilogue. Dense layers are 1x1 convolutions over a row of pixels.
"""

from tvm import s_tir, te, tirx

from ..common.lowered import lowered
from ..common.prefetch import prefetch
from ..common.sizes import largest_divisor
from ..processor import packing
from ..processor.neon import sum_of_parts
from ..processor.ordered import ordered_function, ordered_intrinsic
from .direct_plan import TILES


def direct_conv(plan, offset, dtype):
    """Scheduled PrimFunc of a quantized convolution.

    Parameters
    ----------
    plan : DirectPlan
    offset : int
        Added to each activation (see `instructions.choose`); the padding value too.
    dtype : str
        Dtype of the stored activations, shape (batch, height, width, in_channels); "float32" with `fma`.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, weights as `pack_weights` makes them, bias int32 and multiplier float32 as
        `pack_channels` makes them (a float kernel: bias float32, no multiplier), limits, the residual if there is
        one, and the result, both of `conv.out_shape`.
    """
    conv, ins, output = plan.conv, plan.instruction, plan.output
    real = ins.activation == "float32"
    out_type = "float32" if real else "int32"
    x = te.placeholder((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x")
    weights = te.placeholder(plan.weight_shape, ins.weight, "weights")
    bias = te.placeholder((plan.blocks * plan.block * conv.groups,), out_type, "bias")
    multiplier = te.placeholder((plan.blocks * plan.block * conv.groups,), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.out_shape, output.residual, "residual") if output.residual else None
    acc = _accumulate(_prepare(x, plan, offset), weights, plan, out_type)
    finish = _packed if plan.packs else _stored
    out = finish(plan, acc, bias, None if real else multiplier, limits, residual)
    args = [x, weights, bias, *([] if real else [multiplier]), limits, *([residual] if output.residual else []), out]
    return _schedule(te.create_prim_func(args), plan, plan.needs_copy(dtype, offset))


def _stored(plan, acc, bias, multiplier, limits, residual):
    """The result, channel by channel."""
    conv = plan.conv

    def store(n, h, w, *channel):
        g, c = channel if conv.groups > 1 else (0, *channel)
        place = g * (plan.blocks * plan.block) + c
        value = acc[n, g, c // plan.block, h, w, c % plan.block] + bias[place]
        added = residual[(n, h, w, *channel)] if residual is not None else None
        return plan.output.store(value, None if multiplier is None else multiplier[place], limits, added)

    return te.compute(conv.out_shape, store, "out")


def _packed(plan, acc, bias, multiplier, limits, residual):
    """The result, a block of 64 channels at a time: requantized in the order of the accumulators, packed, clipped."""
    conv, output, block = plan.conv, plan.output, packing.BLOCK

    def at(n, g, b, h, w, c):
        return (n, h, w, *([g] if conv.groups > 1 else []), b * block + c)

    shape = (conv.batch, conv.groups, plan.blocks, conv.out_height, conv.out_width, block)
    wide = residual is not None and te.compute(
        shape, lambda n, g, b, h, w, i: residual[at(n, g, b, h, w, packing.position(i))].astype("int32"), "wide"
    )

    def requantize(n, g, b, h, w, i):
        place = (g * plan.blocks + b) * block + i
        return output.requantize(
            acc[n, g, b, h, w, i] + bias[place],
            multiplier[place],
            limits,
            None if residual is None else wide[n, g, b, h, w, i],
        )

    requantized = te.compute(shape, requantize, "requantized")
    packed = te.compute(
        shape, lambda n, g, b, h, w, i: output.saturate(requantized[n, g, b, h, w, packing.position(i)]), "packed"
    )

    def clip(n, h, w, *channel):
        g, c = channel if conv.groups > 1 else (0, *channel)
        return output.clip(packed[n, g, c // block, h, w, c % block], limits)

    return te.compute(conv.out_shape, clip, "out")


def _prepare(x, plan, offset):
    """The activations as the instruction reads them.

    Returns a function of (n, output row, output column, kernel row, tap, group, element).
    """
    conv, ins, channels = plan.conv, plan.instruction, plan.conv.in_channels

    def row_of(h, kh):
        return h * conv.strides[0] + kh * conv.dilation[0]

    def column_of(w, tap=0):
        return w * conv.strides[1] + tap * conv.dilation[1]

    if not plan.needs_copy(x.dtype, offset):
        return lambda n, h, w, kh, tap, g, k: x[n, row_of(h, kh), column_of(w, tap), g * plan.group_in + k]

    def value(n, h, w, c, inside=()):
        top, left, _, _ = conv.padding
        loaded = x[n, h - top, w - left, c].astype(ins.activation) + tirx.const(offset, ins.activation)
        inside = [h >= top, h < top + conv.height, w >= left, w < left + conv.width, *inside]
        return te.if_then_else(te.all(*inside), loaded, tirx.const(offset, ins.activation))

    length = plan.steps * ins.depth
    height = row_of(conv.out_height - 1, conv.kernel[0] - 1) + 1
    width = column_of(plan.padded_columns - 1, conv.kernel[1] - 1) + 1
    if plan.row == plan.group_in:
        copy = te.compute(
            (conv.batch, height, width, *([conv.groups] if conv.groups > 1 else []), length),
            lambda n, h, w, *gk: value(n, h, w, sum(gk[:-1]) * plan.group_in + gk[-1], [gk[-1] < plan.group_in]),
            "prepared",
        )
        return lambda n, h, w, kh, tap, g, k: copy[
            (n, row_of(h, kh), column_of(w, tap), *([g] if conv.groups > 1 else []), k)
        ]
    # A run is a kernel row or several: keep pixels side by side, with room behind the last.
    row_length = (width - conv.kernel[1]) * channels + max(length, plan.row)
    copy = te.compute(
        (conv.batch, height, row_length), lambda n, h, i: value(n, h, i // channels, i % channels), "prepared"
    )
    if not plan.tiling.patches:
        return lambda n, h, w, kh, _tap, _g, k: copy[n, row_of(h, kh), column_of(w) * channels + k]
    # What is behind the last row meets weights of zero.
    rows = -(-length // plan.row)
    patches = te.compute(
        (conv.batch, conv.out_height, plan.padded_columns, rows * plan.row),
        lambda n, h, w, k: copy[
            n, row_of(h, te.min(k // plan.row, conv.kernel[0] - 1)), column_of(w) * channels + k % plan.row
        ],
        "patches",
    )
    return lambda n, h, w, _kh, _tap, _g, k: patches[n, h, w, k]


def _accumulate(source, weights, plan, dtype):
    conv, ins = plan.conv, plan.instruction
    shape = (conv.batch, conv.groups, plan.blocks, conv.out_height, plan.padded_columns)
    taps = (plan.kernel_rows, plan.taps, plan.steps)
    kh, tap, step = map(te.reduce_axis, ((0, extent) for extent in taps), ("kh", "tap", "step"))

    def product(n, g, b, h, w, i, kh, tap, step, link, pair, dtype):
        if ins.parts > 1:  # the lane has its own activations
            within = [pair[0] * (2 * ins.lanes) + i % ins.lanes * 2 + pair[1]]
            size = ins.parts * ins.pairs
        else:
            within, size = pair, ins.pairs
        activation = source(n, h, w, kh, tap, g, step * ins.depth + sum(link) * size + sum(within))
        lane = [] if ins.parts > 1 else [i % ins.lanes]
        vector = [*link, i // ins.lanes] if ins.chains else [i // ins.lanes, *link]
        weight = weights[(g, b, kh, tap, step, *vector, *lane, *within)]
        return activation.astype(dtype) * weight.astype(dtype)

    link = [te.reduce_axis((0, ins.links), "link")] if ins.chain > 1 or ins.parts > 1 else []
    if not ins.staged and ins.parts == 1:
        pair = [te.reduce_axis((0, ins.pairs), "pair")] if ins.pairs > 1 or not link else []
        return te.compute(
            (*shape, plan.block),
            lambda *at: te.sum(product(*at, kh, tap, step, link, pair, dtype), axis=[kh, tap, step, *link, *pair]),
            "acc",
        )
    # A chain adds in int16, two sums for each lane, then all in int32.
    half, count = te.reduce_axis((0, 2), "half"), ins.pairs // 2
    pair = [te.reduce_axis((0, count), "pair")] if count > 1 else []  # an axis of extent 1 would vanish
    lanes = plan.block * ins.parts

    def products(n, g, b, h, w, kh, tap, step, i, half):
        within = [pair[0], half] if ins.parts > 1 else [half * count + sum(pair)]
        return te.sum(product(n, g, b, h, w, i, kh, tap, step, link, within, "int16"), axis=[*link, *pair])

    if ins.staged:
        sums = te.compute((*shape, *taps, lanes, 2), products, "sums")
        acc = te.compute(
            (*shape, lanes),
            lambda *at: te.sum(
                sums[(*at[:-1], kh, tap, step, at[-1], half)].astype("int32"), axis=[kh, tap, step, half]
            ),
            "acc",
        )
    else:
        acc = te.compute(
            (*shape, lanes),
            lambda *at: te.sum(
                product(*at, kh, tap, step, link, [half, *pair], dtype), axis=[kh, tap, step, *link, half, *pair]
            ),
            "acc",
        )
    if ins.parts == 1:
        return acc
    return te.compute(
        (*shape, plan.block),
        lambda *at: sum(
            (acc[(*at[:-1], at[-1] * ins.parts + part)] for part in range(1, ins.parts)),
            acc[(*at[:-1], at[-1] * ins.parts)],
        ),
        "total",
    )


def _schedule(func, plan, prepared):
    sch, ins = s_tir.Schedule(func), plan.instruction
    if prepared:
        _schedule_copy(sch, sch.get_sblock("prepared"))
    acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
    sch.set_scope(acc, 0, "local")
    acc = sch.get_sblock("acc")
    nest = _nest_of_result if plan.packs else _nest_of_accumulators
    shared, tiles = nest(sch, plan, acc, out)

    inner = 3 if ins.chains else 2 if ins.chain > 1 and ins.pairs > 1 and not ins.staged else 1  # what the steps add up
    w_i, i, kh, tap, step, *_ = sch.get_loops(acc)[-5 - inner :]
    v, lane = (None, i) if ins.chains else sch.split(i, [None, ins.lanes])
    sch.reorder(kh, tap, step, w_i, *([v] if v else []), lane)
    if not ins.neon:  # ARM's fetch streams by themselves, and each instruction counts
        prefetch(sch, step, tiles, plan.far)
    shared = sch.fuse(*(shared[:-1] if plan.tiling.patches else shared))  # patches serve all blocks of channels
    sch.parallel(shared)  # before decompose_reduction
    if plan.unrolled:
        for loop in (kh, tap, step):
            sch.unroll(loop)
    if ins.staged:
        sch.set_scope(sch.get_sblock("sums"), 0, "local")
        sch.compute_at(sch.get_sblock("sums"), step, preserve_unit_loops=True)
    if plan.tiling.patches:
        patches = sch.get_sblock("patches")
        sch.compute_at(patches, shared)
        sch.split(sch.get_loops(patches)[-1], [None, plan.row])
    if ins.staged:
        _schedule_chain(sch, ins)
    if ins.activation == "float32":
        sch.vectorize(lane)
    init = sch.get_loops(sch.decompose_reduction(acc, kh))
    sch.vectorize(init[-1])
    for loop in init[-2:-1] if ins.chains else (*init[-3:-1], w_i, v):
        sch.unroll(loop)
    if ins.chains:
        flat = plan.by_row and not plan.tiling.patches
        distance = 1 if plan.tiling.patches else plan.conv.strides[1] * (plan.conv.in_channels if flat else 1)
        alone = plan.kernel_rows * plan.taps * plan.steps == 1
        sch.annotate(kh, "pragma_import_llvm", ordered_function(ins, alone))
        sch.tensorize(w_i, ordered_intrinsic(ins, distance, flat, alone))
    elif ins.activation != "float32":
        sch.tensorize(lane, ins.intrinsic)
    if ins.parts > 1:
        w_i, c = sch.get_loops(sch.get_sblock("total"))[-2:]
        four, c = sch.split(c, [None, 4])
        sch.unroll(w_i), sch.unroll(four)
        sch.tensorize(c, sum_of_parts())
    if plan.packs:
        _schedule_packing(sch, out, plan)
    else:
        w_i, *_, c = sch.get_loops(out)[-3 if plan.conv.groups > 1 else -2 :]
        c_o, c_i = sch.split(c, [None, _vector_width(plan)])
        sch.unroll(w_i), sch.unroll(c_o), sch.vectorize(c_i)
    return lowered(sch.mod["main"], aligned=not ins.neon)


def _schedule_chain(sch, ins):
    """Link by link, so that few weights and activations are in registers at once."""
    sums = sch.get_sblock("sums")
    loops = sch.get_loops(sums)[-8 if ins.pairs > 2 else -7 :]
    w_i, _, _, _, i, half, link, *pair = loops
    v, lane = sch.split(i, [None, ins.lanes])
    sch.reorder(link, w_i, v, lane, half, *pair)
    init = sch.get_loops(sch.decompose_reduction(sums, link))
    sch.vectorize(sch.fuse(*init[-2:]))
    for loop in (*init[-4:-2], link, w_i, v):
        sch.unroll(loop)
    sch.tensorize(lane, ins.link)


def _nest_of_accumulators(sch, plan, acc, out):
    """The outer loops around whole blocks of accumulators, of which the result takes what it has room for.

    Returns the loops that threads share, and those over a block's tiles.
    """
    n, g, b, h, w, i, *reduction = sch.get_loops(acc)
    w_o, w_i = sch.split(w, [None, plan.tiling.tile])
    place, tiles = _places(sch, plan, h, w_o)
    sch.reorder(n, g, *place, b, *tiles, w_i, i, *reduction)
    stored = tiles[-1]
    if plan.instruction.parts > 1:  # few results: several tiles' are stored together, so that none waits for another
        stored, last = sch.split(stored, [None, largest_divisor(int(sch.get(stored).extent), TILES)])
        tiles = [*tiles[:-1], stored, last]
        sch.set_scope(sch.get_sblock("total"), 0, "local")
        sch.reverse_compute_at(sch.get_sblock("total"), last, preserve_unit_loops=True)
    sch.reverse_compute_at(out, stored, preserve_unit_loops=True)
    return [n, g, *place, b], tiles


def _nest_of_result(sch, plan, acc, out):
    """The same around the result, where it consists of whole blocks."""
    n, h, w, *g, c = sch.get_loops(out)
    w_o, w_i = sch.split(w, [None, plan.tiling.tile])
    b, c = sch.split(c, [None, packing.BLOCK])
    place, tiles = _places(sch, plan, h, w_o)
    sch.reorder(n, *g, *place, b, *tiles, w_i, c)
    for name in ("packed", "requantized", "wide"):
        if name != "wide" or plan.output.residual:
            sch.compute_at(sch.get_sblock(name), w_i)
    sch.compute_at(acc, tiles[-1], preserve_unit_loops=True)
    return [n, *g, *place, b], tiles


def _places(sch, plan, h, w_o):
    """Loops over chunks, which threads share, and loops over the tiles of a chunk."""
    if plan.conv.out_height > 1:
        h_o, h = sch.split(h, [None, plan.tiling.chunk])
        return [h_o], [h, w_o]
    w_oo, w_o = sch.split(w_o, [None, plan.tiling.chunk])
    return [h, w_oo], [w_o]


def _schedule_packing(sch, out, plan):
    """From accumulators to bytes, one pixel after the other."""
    w_i, c = sch.get_loops(out)[-2:]
    sch.vectorize(c)
    sch.unroll(w_i)
    steps = {"packed": packing.pack_intrinsic(plan.output.dtype), "requantized": None}
    if plan.output.residual:
        steps["wide"] = packing.unpack_intrinsic()
    for name in steps:
        sch.set_scope(sch.get_sblock(name), 0, "local")
    for name, intrinsic in steps.items():
        inner = sch.get_loops(sch.get_sblock(name))[-1]
        if intrinsic:
            sch.tensorize(inner, intrinsic)
        else:
            vector, lane = sch.split(inner, [None, plan.instruction.lanes])
            sch.unroll(vector), sch.vectorize(lane)


def _vector_width(plan):
    """Channels stored at once: as many as always stand together in a block."""
    width = min(16, plan.block)
    while plan.group_out % width:
        width //= 2
    return width


def _schedule_copy(sch, block):
    loops = sch.get_loops(block)
    extent = int(sch.get(loops[-1]).extent)
    sch.parallel(sch.fuse(*loops[:2]))
    width = next((w for w in (64, 32, 16, 8, 4) if extent % w == 0), None)
    if len(loops) == 3:  # rows: what lies inside is copied at once
        sch.annotate(loops[-1], "pragma_loop_partition_hint", True)
    elif width:
        sch.vectorize(sch.split(loops[-1], [None, width])[1])
