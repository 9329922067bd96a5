"""Direct convolution: a tile of output pixels by a block of output channels, held in registers.

The algorithm: an NHWC activation, padded (and offset or widened where the instruction asks for it), times weights
packed as [group, block, kh, tap, step, vector, chain, lane, pair]. A "run" is a stretch of activations that lie side by
side in memory: the input channels of one tap, or, where they do not fill the instruction, the channels of a whole
kernel row. `steps` uses of the instruction consume it.
Dense layers are 1x1 convolutions of one pixel.
"""

from dataclasses import dataclass, replace

import numpy as np
from tvm import s_tir, te, tirx

from .instructions import Instruction
from .lowered import lowered


@dataclass(frozen=True)
class Conv2D:
    """The shape of a 2-D convolution: NHWC activations, OIHW weights."""

    batch: int
    height: int
    width: int
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def out_height(self):
        top, _, bottom, _ = self.padding
        return (self.height + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.strides[0] + 1

    @property
    def out_width(self):
        _, left, _, right = self.padding
        return (self.width + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.strides[1] + 1

    @property
    def nhwc_shape(self):
        """Shape of the result, (N, OH, OW, C)."""
        return (self.batch, self.out_height, self.out_width, self.out_channels)

    @property
    def out_shape(self):
        """Shape of the direct kernel's result: the channels of several groups are an axis of their own."""
        channels = (self.out_channels,) if self.groups == 1 else (self.groups, self.out_channels // self.groups)
        return (self.batch, self.out_height, self.out_width, *channels)

    def flattened(self):
        """The same convolution with all pixels in one row, where each needs just the input pixel at its place."""
        if self.kernel != (1, 1) or self.strides != (1, 1) or any(self.padding):
            return self
        return replace(self, batch=1, height=1, width=self.batch * self.height * self.width)

    @property
    def macs(self):
        return (self.batch * self.out_height * self.out_width * self.out_channels
                * self.in_channels // self.groups * self.kernel[0] * self.kernel[1])


def direct_conv(conv, instruction, offset, dtype, output):
    """Scheduled PrimFunc of a quantized convolution.

    Parameters
    ----------
    conv : Conv2D
    instruction : Instruction
    offset : int
        Added to each activation (see `instructions.choose`); the padding value too.
    dtype : str
        Dtype of the stored activations, shape (batch, height, width, in_channels); "float32" with `fma`.
    output : Output

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, weights as `pack_weights` makes them, bias int32 and multiplier float32 as
        `pack_channels` makes them (a float kernel: bias float32, no multiplier), limits, the residual if there is
        one, and the result, both of `conv.out_shape`.
    """
    plan = _Plan(conv, instruction)
    real = instruction.activation == "float32"
    out_type = "float32" if real else "int32"
    x = te.placeholder((conv.batch, conv.height, conv.width, conv.in_channels), dtype, "x")
    weights = te.placeholder(plan.weight_shape, instruction.weight, "weights")
    bias = te.placeholder((plan.blocks * plan.block * conv.groups,), out_type, "bias")
    multiplier = te.placeholder((plan.blocks * plan.block * conv.groups,), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.out_shape, output.residual, "residual") if output.residual else None
    source, prepared = _prepare(x, plan, offset)
    acc = _accumulate(source, weights, plan, out_type)

    def store(n, h, w, *channel):
        g, c = channel if conv.groups > 1 else (0, *channel)
        packed = g * (plan.blocks * plan.block) + c
        value = acc[n, g, c // plan.block, h, w, c % plan.block] + bias[packed]
        added = residual[(n, h, w, *channel)] if output.residual else None
        return output.store(value, None if real else multiplier[packed], limits, added)

    out = te.compute(conv.out_shape, store, "out")
    args = [x, weights, bias, *([] if real else [multiplier]), limits, *([residual] if output.residual else []), out]
    return _schedule(te.create_prim_func(args), plan, prepared)


def pack_weights(conv, instruction, weight):
    """OIHW int8 weights in the order in which the kernel reads them, zeros where a block is not full.

    Parameters
    ----------
    conv : Conv2D
    instruction : Instruction
    weight : numpy.ndarray
        int8, (out_channels, in_channels / groups, kh, kw).
    """
    plan = _Plan(conv, instruction)
    _, channels, kh, kw = weight.shape
    w = weight.reshape(conv.groups, plan.group_out, channels, kh, kw).transpose(0, 1, 3, 4, 2)  # g, o, kh, kw, c
    w = w.reshape(conv.groups, plan.group_out, kh, plan.taps, plan.run)
    full = np.zeros((conv.groups, plan.blocks * plan.block, kh, plan.taps, plan.steps * instruction.depth), w.dtype)
    full[:, :plan.group_out, ..., :plan.run] = w
    full = full.reshape(conv.groups, plan.blocks, plan.vectors, instruction.lanes, kh, plan.taps, plan.steps,
                        instruction.chain, instruction.pairs)
    # group, block, kh, tap, step, vector, chain, lane, pair
    full = full.transpose(0, 1, 4, 5, 6, 2, 7, 3, 8)
    return np.ascontiguousarray(full.reshape(plan.weight_shape), instruction.weight)


def pack_channels(conv, instruction, values):
    """Per-channel `values` (bias, multiplier) with zeros where a block is not full."""
    plan = _Plan(conv, instruction)
    full = np.zeros((conv.groups, plan.blocks * plan.block), values.dtype)
    full[:, :plan.group_out] = values.reshape(conv.groups, plan.group_out)
    return full.reshape(-1)


class _Plan:
    """How a convolution is cut into tiles, blocks and runs for one instruction."""

    def __init__(self, conv: Conv2D, ins: Instruction):
        self.conv, self.ins = conv, ins
        self.group_in, self.group_out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
        by_row = conv.groups == 1 and conv.dilation[1] == 1 and self.group_in % ins.depth != 0
        self.taps = 1 if by_row else conv.kernel[1]
        self.run = self.group_in * (conv.kernel[1] if by_row else 1)
        self.steps = -(-self.run // ins.depth)
        self.columns = conv.out_width
        self.vectors, self.tile = _choose_tile(self.columns, -(-self.group_out // ins.lanes), ins)
        self.block = self.vectors * ins.lanes
        self.blocks = -(-self.group_out // self.block)
        self.padded_columns = -(-self.columns // self.tile) * self.tile
        self.chunk, self.k_chunk = 1, self.steps

    @property
    def weight_shape(self):
        ins = self.ins
        return (self.conv.groups, self.blocks, self.conv.kernel[0], self.taps, self.steps, self.vectors,
                *ins.weight_shape)

    def needs_copy(self, dtype, offset):
        return (offset != 0 or dtype != self.ins.activation or any(self.conv.padding)
                or self.run % self.ins.depth != 0 or self.padded_columns != self.columns)


def _choose_tile(columns, vectors, ins):
    """(vectors per block, pixels per tile) that keep the multiplier busiest without spilling accumulators."""
    temporaries = 2 if ins.chain == 1 else 4

    def cost(shape):
        v, tile = shape
        per_step = v * tile + (v + tile) / 2 + 1
        return -(-columns // tile) * -(-vectors // v) * per_step

    shapes = [(v, tile) for v in (1, 2, 4) if v <= max(vectors, 1) for tile in range(1, 29)
              if v * tile + v + temporaries <= ins.registers and tile <= columns]
    exact = [shape for shape in shapes if columns % shape[1] == 0]
    best = min(shapes, key=cost)
    best_exact = min(exact, key=cost)
    return best_exact if cost(best_exact) <= 1.15 * cost(best) else best


def _prepare(x, plan, offset):
    """The activations as the instruction reads them, and whether that is a copy.

    Returns a function of (n, row, column, group, element): `row` and `column` count from the padded corner.
    """
    conv, ins = plan.conv, plan.ins
    if not plan.needs_copy(x.dtype, offset):
        return lambda n, h, w, g, k: x[n, h, w, g * plan.group_in + k], False

    def value(n, h, w, c, inside=()):
        top, left, _, _ = conv.padding
        loaded = x[n, h - top, w - left, c].astype(ins.activation) + tirx.const(offset, ins.activation)
        inside = [h >= top, h < top + conv.height, w >= left, w < left + conv.width, *inside]
        return te.if_then_else(te.all(*inside), loaded, tirx.const(offset, ins.activation))

    length = plan.steps * ins.depth
    height = (conv.out_height - 1) * conv.strides[0] + conv.dilation[0] * (conv.kernel[0] - 1) + 1
    width = (plan.padded_columns - 1) * conv.strides[1] + conv.dilation[1] * (conv.kernel[1] - 1) + 1
    if plan.run != plan.group_in:  # a run is a kernel row: keep pixels side by side, with room behind the last
        channels = conv.in_channels
        row_length = (width - conv.kernel[1]) * channels + length
        copy = te.compute((conv.batch, height, row_length),
                          lambda n, h, i: value(n, h, i // channels, i % channels), "prepared")
        return lambda n, h, w, _g, k: copy[n, h, w * channels + k], True
    copy = te.compute(
        (conv.batch, height, width, conv.groups, length),
        lambda n, h, w, g, k: value(n, h, w, g * plan.group_in + k, [k < plan.group_in]), "prepared")
    return lambda n, h, w, g, k: copy[n, h, w, g, k], True


def _accumulate(source, weights, plan, dtype):
    conv, ins = plan.conv, plan.ins
    kh, tap = te.reduce_axis((0, conv.kernel[0]), "kh"), te.reduce_axis((0, plan.taps), "tap")
    step = te.reduce_axis((0, plan.steps), "step")
    chain, pair = te.reduce_axis((0, ins.chain), "chain"), te.reduce_axis((0, ins.pairs), "pair")
    links = [chain] if ins.chain > 1 else []

    def product(n, g, b, h, w, i):
        at = step * ins.depth + (chain * ins.pairs if links else 0) + pair
        activation = source(n, h * conv.strides[0] + kh * conv.dilation[0],
                            w * conv.strides[1] + tap * conv.dilation[1], g, at)
        weight = weights[(g, b, kh, tap, step, i // ins.lanes, *links, i % ins.lanes, pair)]
        return te.sum(activation.astype(dtype) * weight.astype(dtype), axis=[kh, tap, step, *links, pair])

    return te.compute(
        (conv.batch, conv.groups, plan.blocks, conv.out_height, plan.padded_columns, plan.block), product, "acc")


def _schedule(func, plan, prepared):
    sch, conv, ins = s_tir.Schedule(func), plan.conv, plan.ins
    if prepared:
        _schedule_copy(sch, sch.get_sblock("prepared"))

    acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
    inner = 2 if ins.chain > 1 else 1
    n, g, b, h, w, i, kh, tap, step = sch.get_loops(acc)[:-inner]
    w_o, w_i = sch.split(w, [None, plan.tile])
    v, lane = sch.split(i, [None, ins.lanes])
    if conv.out_height > 1:
        h_o, h = sch.split(h, [None, plan.chunk])
        place, tiles = [n, g, h_o], [h, w_o]
    else:
        w_oo, w_o = sch.split(w_o, [None, plan.chunk])
        place, tiles = [n, g, h, w_oo], [w_o]
    step_o, step_i = sch.split(step, [None, plan.k_chunk])
    outer, rest = ([kh, tap, step_o], [step_i]) if plan.k_chunk < plan.steps else ([], [kh, tap, step_o, step_i])
    sch.reorder(*place, b, *outer, *tiles, *rest, w_i, v, lane)
    sch.set_scope(acc, 0, "local")
    sch.reverse_compute_at(out, b if outer else tiles[-1], preserve_unit_loops=True)
    sch.parallel(sch.fuse(*place, b))  # before decompose_reduction
    if ins.activation == "float32":
        sch.vectorize(lane)
    init = sch.get_loops(sch.decompose_reduction(acc, (outer or rest)[0]))
    sch.vectorize(init[-1])
    for loop in (*init[-3:-1], w_i, v):
        sch.unroll(loop)
    if ins.activation != "float32":
        sch.tensorize(lane, ins.name)

    w_i, *_, c = sch.get_loops(out)[-3 if conv.groups > 1 else -2:]
    c_o, c_i = sch.split(c, [None, _vector_width(plan)])
    sch.unroll(w_i), sch.unroll(c_o), sch.vectorize(c_i)
    return lowered(sch.mod["main"])


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
    if width and len(loops) == 5:
        sch.vectorize(sch.split(loops[-1], [None, width])[1])
