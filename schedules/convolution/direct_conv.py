"""Direct convolution: a tile of output pixels by a block of output channels, held in registers.

`textbook` is the algorithm. `direct_conv` computes the same in a blocked form: the activations, padded (and offset or
widened where the instruction asks for it), times packed weights (see `direct_plan`), then the epilogue. Its schedule is
`direct_schedule`. Dense layers are 1x1 convolutions over a row of pixels.
"""

from tvm import te, tirx
from tvm.tirx import Expr, IterVar

from ..processor import packing
from ..processor.sums import product
from ..sums.pixels import pixel_sums
from .conv2d import Conv2D
from .direct_activations import Read, prepared
from .direct_plan import DirectPlan
from .direct_schedule import scheduled
from .nibbles import unpacked


def textbook(conv: Conv2D) -> tuple[te.Tensor, te.Tensor, te.Tensor]:
    """The convolution by its definition, without bias and epilogue: what the blocked form must equal.

    Returns
    -------
    x, weight, acc : te.Tensor
        int8 (N, H, W, C), int8 (O, C / groups, KH, KW) and int32 (N, OH, OW, O).
    """
    group_in, group_out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    x = te.placeholder((conv.batch, conv.height, conv.width, conv.in_channels), "int8", "x")
    weight = te.placeholder((conv.out_channels, group_in, *conv.kernel), "int8", "weight")
    kh, kw = te.reduce_axis((0, conv.kernel[0]), "kh"), te.reduce_axis((0, conv.kernel[1]), "kw")
    k = te.reduce_axis((0, group_in), "k")

    def accumulator(n: Expr, h: Expr, w: Expr, o: Expr) -> Expr:
        row = h * conv.strides[0] + kh * conv.dilation[0] - conv.padding[0]
        column = w * conv.strides[1] + kw * conv.dilation[1] - conv.padding[1]
        inside = te.all(row >= 0, row < conv.height, column >= 0, column < conv.width)
        activation = te.if_then_else(inside, x[n, row, column, o // group_out * group_in + k], tirx.const(0, "int8"))
        return te.sum(activation.astype("int32") * weight[o, k, kh, kw].astype("int32"), axis=[kh, kw, k])

    return x, weight, te.compute(conv.nhwc_shape, accumulator, "acc")


def direct_conv(plan: DirectPlan, offset: int, dtype: str, zero: int = 0, plain: bool = False) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a quantized convolution.

    Parameters
    ----------
    plan : DirectPlan
    offset : int
        Added to each activation: see `instructions.choose`. Where sums are multiplied, that of `processor.sums`.
    dtype : str
        Dtype of the stored activations, shape (batch, height, width, in_channels); "float32" with `fma`.
    zero : int
        How 0 is stored: what padding is, with the offset.
    plain : bool
        The loops that AMX's micro-kernel and instructions that pack take the place of are left as they are, for any
        processor to run.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, weights as `pack_weights` makes them, bias int32 and multiplier float32 as
        `pack_channels` makes them (a float kernel: bias float32, no multiplier), limits, the residual if there is
        one, and the result, both of `conv.out_shape`.
    """
    conv, ins, output = plan.conv, plan.instruction, plan.output
    real = ins.activation == "float32"
    total = "float32" if real else "int32"
    channels = (plan.blocks * plan.block * conv.groups,)
    x = te.placeholder((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x")
    weights = te.placeholder(plan.weight_shape, plan.weight_dtype, "weights")
    bias = te.placeholder(channels, total, "bias")
    multiplier = None if real else te.placeholder(channels, "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.out_shape, output.residual, "residual") if output.residual else None
    multiplied = unpacked(weights, ins) if plan.tiling.nibbles else weights
    added = 0 if ins.sums else offset
    read = prepared(x, plan, added, zero)
    acc = _accumulate(read, multiplied, plan, total)
    finish = _packed if plan.packs else _stored
    pixels = pixel_sums(read, plan, offset) if ins.sums else None
    taken = None if pixels is None else te.placeholder(pixels.shape, "int32", "taken")
    out = finish(plan, acc, bias, multiplier, limits, residual, taken)
    args = [arg for arg in (x, weights, bias, multiplier, limits, residual, taken, pixels, out) if arg is not None]
    return scheduled(te.create_prim_func(args), plan, plan.needs_copy(dtype, added), plain, offset)


def _accumulate(read: Read, weights: te.Tensor, plan: DirectPlan, total: str) -> te.Tensor:
    """The accumulators by blocks: (N, groups, blocks, OH, padded OW, block), int32 (`total`).

    Their channels are in the order of the weights'.
    """
    ins = plan.instruction
    if ins.sums:
        return _of_sums(read, weights, plan)
    if ins.pixels > 1:
        return _of_pixels(read, weights, plan)
    if ins.lanes_per_channel == 1:
        return _through_int16(read, weights, plan) if ins.staged else _at_once(read, weights, plan, total)
    acc = _through_int16(read, weights, plan) if ins.staged else _ordered(read, weights, plan)
    return te.compute(
        (*_tiles(plan), plan.block),
        lambda n, g, b, h, w, c: sum(
            (acc[n, g, b, h, w, c * ins.lanes_per_channel + part] for part in range(1, ins.lanes_per_channel)),
            acc[n, g, b, h, w, c * ins.lanes_per_channel],
        ),
        "total",
    )


def _at_once(read: Read, weights: te.Tensor, plan: DirectPlan, total: str) -> te.Tensor:
    """acc[i] += A[link, pair] * B[link, i, pair] in each step."""
    ins = plan.instruction
    kh, tap, step = _reduction(plan)
    link = [te.reduce_axis((0, ins.links), "link")] if ins.chain > 1 else []
    pair = [te.reduce_axis((0, ins.pairs), "pair")] if ins.pairs > 1 or not link else []

    def accumulator(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        activation = read(n, h, w, kh, tap, g, step * ins.depth + sum(link) * ins.pairs + sum(pair))
        weight = weights[(g, b, kh, tap, step, i // ins.lanes, *link, i % ins.lanes, *pair)]
        return te.sum(activation.astype(total) * weight.astype(total), axis=[kh, tap, step, *link, *pair])

    return te.compute((*_tiles(plan), plan.block), accumulator, "acc")


def _of_sums(read: Read, weights: te.Tensor, plan: DirectPlan) -> te.Tensor:
    """acc[i] += (A[pair] + B[0, i, pair]) * (A[pairs + pair] + B[1, i, pair]) in each step."""
    ins = plan.instruction
    kh, tap, step = _reduction(plan)
    pair = te.reduce_axis((0, ins.pairs), "pair")

    def accumulator(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        activations = (read(n, h, w, kh, tap, g, step * ins.depth + half * ins.pairs + pair) for half in (0, 1))
        at = [weights[g, b, kh, tap, step, i // ins.lanes, half, i % ins.lanes, pair] for half in (0, 1)]
        return te.sum(product(ins.weight, *activations, *at), axis=[kh, tap, step, pair])

    return te.compute((*_tiles(plan), plan.block), accumulator, "acc")


def _of_pixels(read: Read, weights: te.Tensor, plan: DirectPlan) -> te.Tensor:
    """acc[i] += held[p, link, pair] * B[link, i, pair] in each step, where i is a vector's pixel p and channel."""
    ins = plan.instruction
    kh, tap, step = taps = _reduction(plan)
    link = [te.reduce_axis((0, ins.links), "link")] if ins.chain > 1 else []
    pair = te.reduce_axis((0, ins.pairs), "pair")
    batch, groups, blocks, rows, columns = _tiles(plan)
    held = te.compute(
        (batch, groups, rows, *(int(axis.dom.extent) for axis in taps), columns, ins.depth),
        lambda n, g, h, kh, tap, step, w, k: read(n, h, w, kh, tap, g, step * ins.depth + k),
        "held",
    )

    def accumulator(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        pixel, channel = i % ins.lanes // ins.channels, i % ins.channels
        activation = held[n, g, h, kh, tap, step, w * ins.pixels + pixel, sum(link) * ins.pairs + pair]
        weight = weights[(g, b, kh, tap, step, i // ins.lanes, *link, channel, pair)]
        return te.sum(activation.astype("int32") * weight.astype("int32"), axis=[kh, tap, step, *link, pair])

    shape = (batch, groups, blocks, rows, columns // ins.pixels, plan.block * ins.pixels)
    acc = te.compute(shape, accumulator, "acc")

    def total(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        place = c // ins.channels * ins.lanes + w % ins.pixels * ins.channels + c % ins.channels
        return acc[n, g, b, h, w // ins.pixels, place]

    return te.compute((*_tiles(plan), plan.block), total, "total")


def _through_int16(read: Read, weights: te.Tensor, plan: DirectPlan) -> te.Tensor:
    """sums[i, half] += A[link, half, pair] * B[link, i, half, pair] in int16; acc[i] += sums[i, half] in each step."""
    ins = plan.instruction
    kh, tap, step = taps = _reduction(plan)
    link, half, count = te.reduce_axis((0, ins.links), "link"), te.reduce_axis((0, 2), "half"), ins.pairs // 2
    pair = [te.reduce_axis((0, count), "pair")] if count > 1 else []  # an axis of extent 1 would vanish
    lanes = plan.block * ins.lanes_per_channel

    def chain(
        n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, kh: Expr, tap: Expr, step: Expr, i: Expr, half: Expr
    ) -> Expr:
        if ins.lanes_per_channel > 1:
            element, lane = _of_part(plan, i, half, pair[0]), []
        else:
            element, lane = half * count + sum(pair), [i % ins.lanes]
        activation = read(n, h, w, kh, tap, g, step * ins.depth + link * (ins.lanes_per_channel * ins.pairs) + element)
        weight = weights[(g, b, kh, tap, step, i // ins.lanes, link, *lane, element)]
        return te.sum(activation.astype("int16") * weight.astype("int16"), axis=[link, *pair])

    sums = te.compute((*_tiles(plan), *(int(axis.dom.extent) for axis in taps), lanes, 2), chain, "sums")

    def accumulator(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        return te.sum(sums[n, g, b, h, w, kh, tap, step, i, half].astype("int32"), axis=[kh, tap, step, half])

    return te.compute((*_tiles(plan), lanes), accumulator, "acc")


def _ordered(read: Read, weights: te.Tensor, plan: DirectPlan) -> te.Tensor:
    """acc[i] += A[link, part, half, pair] * B[link, vector, part, half, pair] in each step; i is a vector's part."""
    ins = plan.instruction
    kh, tap, step = _reduction(plan)
    link, half = te.reduce_axis((0, ins.links), "link"), te.reduce_axis((0, 2), "half")
    pair = te.reduce_axis((0, ins.pairs // 2), "pair")

    def accumulator(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        element = _of_part(plan, i, pair, half)
        activation = read(n, h, w, kh, tap, g, step * ins.depth + link * (ins.lanes_per_channel * ins.pairs) + element)
        weight = weights[g, b, kh, tap, step, link, i // ins.lanes, element]
        return te.sum(activation.astype("int32") * weight.astype("int32"), axis=[kh, tap, step, link, half, pair])

    return te.compute((*_tiles(plan), plan.block * ins.lanes_per_channel), accumulator, "acc")


def _of_part(plan: DirectPlan, i: Expr, inner: Expr, outer: Expr) -> Expr:
    """Which of a link's elements the lane i multiplies: its `inner` one, in a half of the register, `outer`."""
    lanes = plan.instruction.lanes
    return outer * (2 * lanes) + i % lanes * 2 + inner


def _tiles(plan: DirectPlan) -> tuple[int, ...]:
    """The axes of accumulators around a block."""
    return (plan.conv.batch, plan.conv.groups, plan.blocks, plan.padded_rows, plan.padded_columns)


def _reduction(plan: DirectPlan) -> tuple[IterVar, IterVar, IterVar]:
    """The axes kh, tap and step: uses of the instruction."""
    return (
        te.reduce_axis((0, plan.kernel_rows), "kh"),
        te.reduce_axis((0, plan.taps), "tap"),
        te.reduce_axis((0, plan.steps), "step"),
    )


def _stored(
    plan: DirectPlan,
    acc: te.Tensor,
    bias: te.Tensor,
    multiplier: te.Tensor | None,
    limits: te.Tensor,
    residual: te.Tensor | None,
    taken: te.Tensor | None,
) -> te.Tensor:
    """The result, `conv.out_shape`, channel by channel."""
    conv = plan.conv

    def store(n: Expr, h: Expr, w: Expr, *channel: Expr) -> Expr:
        g, c = channel if conv.groups > 1 else (0, *channel)
        place = g * (plan.blocks * plan.block) + c
        value = _less(acc[n, g, c // plan.block, h, w, c % plan.block] + bias[place], taken, n, h, w)
        added = residual[(n, h, w, *channel)] if residual is not None else None
        return plan.output.store(value, None if multiplier is None else multiplier[place], limits, added)

    return te.compute(conv.out_shape, store, "out", varargs_names=["g", "c"] if conv.groups > 1 else ["c"])


def _packed(
    plan: DirectPlan,
    acc: te.Tensor,
    bias: te.Tensor,
    multiplier: te.Tensor,
    limits: te.Tensor,
    residual: te.Tensor | None,
    taken: te.Tensor | None,
) -> te.Tensor:
    """The result, `conv.out_shape`, a block of 64 channels at a time.

    Requantized in the order of the accumulators, (N, groups, blocks, OH, OW, 64), then packed, then clipped.
    """
    conv, output, block = plan.conv, plan.output, packing.BLOCK
    shape = (conv.batch, conv.groups, plan.blocks, conv.out_height, conv.out_width, block)

    wide = None if residual is None else _widened(residual, plan, shape)

    def requantize(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        place = (g * plan.blocks + b) * block + i
        added = None if wide is None else wide[n, g, b, h, w, i]
        value = _less(acc[n, g, b, h, w, i] + bias[place], taken, n, h, w)
        return output.requantize(value, multiplier[place], limits, added)

    requantized = te.compute(shape, requantize, "requantized")
    packed = te.compute(
        shape, lambda n, g, b, h, w, i: output.saturate(requantized[n, g, b, h, w, packing.position(i)]), "packed"
    )

    def clip(n: Expr, h: Expr, w: Expr, *channel: Expr) -> Expr:
        g, c = channel if conv.groups > 1 else (0, *channel)
        return output.clip(packed[n, g, c // block, h, w, c % block], limits)

    return te.compute(conv.out_shape, clip, "out", varargs_names=["g", "c"] if conv.groups > 1 else ["c"])


def _less(value: Expr, taken: te.Tensor | None, n: Expr, h: Expr, w: Expr) -> Expr:
    """An accumulator without what its pixel has by itself, where sums are multiplied."""
    return value if taken is None else value - taken[n, h, w]


def _widened(residual: te.Tensor, plan: DirectPlan, shape: tuple[int, ...]) -> te.Tensor:
    """The residual as int32, in the `shape` and order of the accumulators."""

    def widen(n: Expr, g: Expr, b: Expr, h: Expr, w: Expr, i: Expr) -> Expr:
        group = [g] if plan.conv.groups > 1 else []
        return residual[(n, h, w, *group, b * packing.BLOCK + packing.position(i))].astype("int32")

    return te.compute(shape, widen, "wide")
