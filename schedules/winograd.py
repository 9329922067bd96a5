"""Winograd convolution over the integers: F(2x2, 3x3) and F(4x4, 3x3), the same number as direct convolution.

The algorithm (Lavin and Gray, arXiv 1509.09308) with all matrices scaled to integers: tiles of the input become
V = B^T x B (int16), weights U = G w G^T (int16, packed ahead of time); for each of the alpha^2 places in a tile a matrix
product M = V U (int32); and A^T M A = factor^2 * acc. Everything after V and U is exact modulo 2^32, and what is known
modulo 2^32 gives acc back where `is_exact` holds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import s_tir, te, tirx

from .common import innermost_width
from .instructions import INT16_MAX, worst_accumulators
from .lowered import cropped, lowered


@dataclass(frozen=True, eq=False)
class Winograd:
    """F(m x m, 3x3) with integer matrices.

    Parameters
    ----------
    m : int
        Outputs of a tile along each axis.
    b, a : callable
        The products with B^T (alpha to alpha terms) and A^T (alpha to m terms), alpha = m + 2, of a list of terms and a
        function that multiplies a term by a power of two. Rows that differ in signs share their halves.
    g : numpy.ndarray
        G (alpha, 3).
    inverse : int
        The odd part of factor^2, inverted modulo 2^32.
    shift : int
        factor^2 = odd part * 2^shift.

    Notes
    -----
    Each axis gains a factor of 2, F(2,3), or 24, F(4,3), in all. It sits in G as far as the transformed weights fit
    int16, so that A^T is left with powers of two. Column 1 of A^T is all ones: what is added to the product at place
    (1, 1) reaches every output of the tile once, and that is where the bias goes.
    """

    m: int
    b: Callable
    g: np.ndarray
    a: Callable
    inverse: int
    shift: int

    @property
    def alpha(self):
        return self.m + 2

    @property
    def bt(self):
        """B^T as a matrix (alpha, alpha)."""
        return np.stack(self.b(np.eye(self.alpha, dtype="int64"), lambda x, k: x * k))


def _b23(x, _times):
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _a23(y, _times):
    return [y[0] + y[1] + y[2], y[1] - y[2] - y[3]]


def _b43(x, times):
    even, odd = x[4] - x[2], x[3] - x[1]
    even4, odd4 = x[4] - times(x[2], 4), x[3] - times(x[1], 4)
    return [times(x[0] - x[2], 4) + even, even4 + odd4, even4 - odd4, even + times(odd, 2), even - times(odd, 2),
            (x[5] - x[3]) - times(odd, 4)]


def _a43(y, times):
    even, odd, even2, odd2 = y[1] + y[2], y[1] - y[2], y[3] + y[4], y[3] - y[4]
    return [y[0] + even + even2, odd + times(odd2, 2), even + times(even2, 4), odd + times(times(odd2, 4) + y[5], 2)]


F23 = Winograd(2, _b23, np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]), _a23, inverse=1, shift=2)
F43 = Winograd(4, _b43, np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 12]]), _a43,
               inverse=954437177, shift=6)  # 576 = 9 * 64


def fits(conv):
    """Whether a convolution has the shape that Winograd kernels are for."""
    return (conv.kernel, conv.strides, conv.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)


def is_exact(winograd, weight, bias, activation_range):
    """Whether the kernel provably gives the accumulator, for every input in the range.

    Parameters
    ----------
    winograd : Winograd
    weight : numpy.ndarray
        int8 OIHW.
    bias : numpy.ndarray
        int32 (O,).
    activation_range : (int, int)
        Least and greatest activation as stored.

    Notes
    -----
    The conditions: V and U fit int16, and 2^shift * acc fits int32, by the exact worst case of the given weights.
    Multiplying by the inverse of the odd part turns factor^2 * acc into 2^shift * acc even where it wrapped.
    """
    transform = np.einsum("ik,jl->ijkl", winograd.bt, winograd.bt)
    ends = np.stack([transform * end for end in activation_range])
    largest_v = max(ends.max(0).sum((2, 3)).max(), -ends.min(0).sum((2, 3)).min())
    largest_u = np.abs(_transformed(winograd, weight)).max(initial=0)
    largest_acc = worst_accumulators(weight, bias, activation_range).max(initial=0)
    return bool(largest_v <= INT16_MAX and largest_u <= INT16_MAX and (int(largest_acc) << winograd.shift) < 2**31)


def winograd_conv(conv, winograd, instruction, offset, dtype, output, tiling):
    """Scheduled PrimFunc of a 3x3 convolution.

    Parameters
    ----------
    conv : Conv2D
        One that `fits`.
    winograd : Winograd
    instruction : Instruction
        int16 times int16.
    offset : int
        What padding is filled with: the stored form of 0.
    dtype : str
        Dtype of the stored activations, shape (batch, height, width, in_channels).
    output : Output
    tiling : Tiling

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations, weights as `pack_weights` makes them, bias as `pack_bias` and multiplier as
        `pack_multiplier` make them, limits, the residual if there is one, and the result, both NHWC.
    """
    plan = _Plan(conv, winograd, instruction, tiling)
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
        lambda n, r, q, i, j, c: _transform(winograd.b, i, [
            padded[n, r * m + k, q * m + j, c].astype("int16") for k in range(alpha)], "int16"), "columns")
    v = te.compute(
        (conv.batch, plan.chunks, alpha * alpha, plan.tiles, plan.channels),
        lambda n, s, p, t, c: _transform(winograd.b, p % alpha, [
            columns[n, s * plan.chunk + t // plan.cols, t % plan.cols, p // alpha, k, c] for k in range(alpha)], "int16"), "v")
    step, pair = te.reduce_axis((0, plan.steps), "step"), te.reduce_axis((0, instruction.pairs), "pair")
    product = te.compute(
        (conv.batch, plan.chunks, plan.blocks, alpha * alpha, plan.tiles, block),
        lambda n, s, b, p, t, i: te.sum(
            v[n, s, p, t, step * instruction.pairs + pair].astype("int32")
            * weights[b, p, step, i // instruction.lanes, i % instruction.lanes, pair].astype("int32"),
            axis=[step, pair]), "product")

    def biased(n, r, q, k, j, c):
        at = product[n, r // plan.chunk, c // block, k * alpha + j, (r % plan.chunk) * plan.cols + q, c % block]
        return at + tirx.Select(j == 1, bias[c], tirx.const(0, "int32")) if k == 1 else at

    rows = te.compute(
        (conv.batch, plan.rows, plan.cols, m, alpha, plan.blocks * block),
        lambda n, r, q, i, j, c: _transform(winograd.a, i, [biased(n, r, q, k, j, c) for k in range(alpha)], "int32"),
        "rows")

    def store(n, h, w, c):
        acc = _transform(winograd.a, w % m, [rows[n, h // m, w // m, h % m, k, c] for k in range(alpha)], "int32")
        if winograd.inverse != 1:
            acc = acc * tirx.const(winograd.inverse, "int32")
        inside = (n, te.min(h, conv.out_height - 1), te.min(w, conv.out_width - 1), te.min(c, conv.out_channels - 1))
        return output.store(acc, multiplier[c], limits, residual[inside] if output.residual else None)

    out = te.compute((conv.batch, plan.rows * m, plan.cols * m, plan.blocks * block), store, "out")
    args = [x, weights, bias, multiplier, limits, *([residual] if output.residual else []), out]
    return cropped(_schedule(te.create_prim_func(args), plan), conv.nhwc_shape)


@dataclass(frozen=True)
class Tiling:
    """How the work is cut.

    Parameters
    ----------
    chunk : int
        Rows of tiles whose products are made together; divides the number of rows.
    tile : int
        Tiles whose accumulators are in registers together; divides the number of tiles of a chunk.
    vectors : int
        Vectors of output channels that are in registers together.
    ahead : bool
        The whole input is transformed first, instead of chunk by chunk.
    """

    chunk: int
    tile: int
    vectors: int
    ahead: bool


def pack_weights(conv, winograd, instruction, tiling, weight):
    """U of int8 OIHW weights as (block, place, step, vector, lane, pair) int16, zeros where a block is not full."""
    plan = _Plan(conv, winograd, instruction, tiling)
    u = _transformed(winograd, weight)  # place, place, O, I
    full = np.zeros((u.shape[0] * u.shape[1], plan.blocks * plan.block, plan.channels), "int16")
    full[:, :u.shape[2], :u.shape[3]] = u.reshape(-1, *u.shape[2:])
    full = full.reshape(-1, plan.blocks, plan.vectors, instruction.lanes, plan.steps, instruction.pairs)
    return np.ascontiguousarray(full.transpose(1, 0, 4, 2, 3, 5))


def pack_bias(conv, winograd, instruction, tiling, bias):
    """factor^2 * bias modulo 2^32, zeros where a block is not full."""
    odd = pow(winograd.inverse, -1, 2**32)
    return _full(_Plan(conv, winograd, instruction, tiling), (bias.astype("int64") * (odd << winograd.shift)).astype("int32"))


def pack_multiplier(conv, winograd, instruction, tiling, multiplier):
    """The multiplier of 2^shift * acc: the power of two changes no rounding."""
    return _full(_Plan(conv, winograd, instruction, tiling), multiplier / np.float32(1 << winograd.shift))


def _transformed(winograd, weight):
    return np.einsum("ik,ockl,jl->ijoc", winograd.g, weight.astype("int64"), winograd.g)


def _full(plan, values):
    full = np.zeros(plan.blocks * plan.block, values.dtype)
    full[:values.size] = values
    return full


class _Plan:
    def __init__(self, conv, winograd, instruction, tiling):
        self.conv, self.winograd, self.instruction, self.tiling = conv, winograd, instruction, tiling
        self.rows, self.cols = -(-conv.out_height // winograd.m), -(-conv.out_width // winograd.m)
        self.chunk = tiling.chunk
        self.chunks, self.tiles = self.rows // self.chunk, self.chunk * self.cols
        self.steps = -(-conv.in_channels // instruction.pairs)
        self.channels = self.steps * instruction.pairs
        self.vectors = tiling.vectors
        self.block = self.vectors * instruction.lanes
        self.blocks = -(-conv.out_channels // self.block)

    @property
    def weight_shape(self):
        ins = self.instruction
        return (self.blocks, self.winograd.alpha**2, self.steps, self.vectors, ins.lanes, ins.pairs)


def _padded(x, plan, offset):
    conv, m = plan.conv, plan.winograd.m
    shape = (conv.batch, plan.rows * m + 2, plan.cols * m + 2, plan.channels)
    top, left, _, _ = conv.padding
    if shape == tuple(int(extent) for extent in x.shape):
        return x
    fill = tirx.const(offset, x.dtype)
    inside = [] if plan.channels == conv.in_channels else [lambda c: c < conv.in_channels]
    return te.compute(shape, lambda n, h, w, c: te.if_then_else(
        te.all(h >= top, h < top + conv.height, w >= left, w < left + conv.width, *[test(c) for test in inside]),
        x[n, h - top, w - left, c], fill), "padded")


def _transform(product, row, terms, dtype):
    """Element `row`, the variable of a loop that will be unrolled, of a product with B^T or A^T."""
    *first, value = product(terms, lambda term, k: term * tirx.const(k, dtype))
    for k in range(len(first) - 1, -1, -1):
        value = tirx.Select(row == k, first[k], value)
    return value


def _schedule(func, plan):
    sch, conv, ins, tiling = s_tir.Schedule(func), plan.conv, plan.instruction, plan.tiling
    m = plan.winograd.m
    names = {sch.get(block).name_hint for block in sch.get_child_blocks(sch.get_sblock("root"))}
    if "padded" in names:
        n, h, _, c = sch.get_loops(sch.get_sblock("padded"))
        sch.vectorize(sch.split(c, [None, innermost_width(plan.channels, 64)])[1])
        sch.parallel(sch.fuse(n, h))

    columns, v, product, rows, out = map(sch.get_sblock, ["columns", "v", "product", "rows", "out"])
    n, h, w, c = sch.get_loops(out)
    s, r, h_i = sch.split(h, [plan.chunks, plan.chunk, m])
    w_o, w_i = sch.split(w, [None, m])
    b, c_o, lane = sch.split(c, [plan.blocks, None, min(ins.lanes, innermost_width(conv.out_channels, ins.lanes))])
    sch.reorder(n, s, b, r, w_o, c_o, h_i, w_i, lane)
    sch.unroll(h_i), sch.unroll(w_i), sch.vectorize(lane)
    sch.set_scope(rows, 0, "local")
    sch.compute_at(rows, c_o)
    i, j, lane = sch.get_loops(rows)[-3:]
    sch.reorder(j, i, lane)
    sch.unroll(i), sch.unroll(j), sch.vectorize(lane)

    sch.compute_at(product, b)
    write_back = sch.cache_write(product, 0, "local")
    if not tiling.ahead:
        sch.compute_at(v, s)
    p, t, c = sch.get_loops(v)[-3:]
    p_i, p_j = sch.split(p, [None, plan.winograd.alpha])
    c_o, lane = sch.split(c, [None, innermost_width(plan.channels, 2 * ins.lanes)])
    sch.reorder(t, c_o, p_i, p_j, lane)
    sch.unroll(p_i), sch.unroll(p_j), sch.vectorize(lane)
    sch.set_scope(columns, 0, "local")
    sch.compute_at(columns, c_o)
    i, j, lane = sch.get_loops(columns)[-3:]
    sch.reorder(j, i, lane)
    sch.unroll(i), sch.unroll(j), sch.vectorize(lane)
    if tiling.ahead:
        sch.parallel(sch.fuse(*sch.get_loops(v)[:3]))

    product = sch.get_sblock("product")
    p, t, i, step, pair = sch.get_loops(product)[-5:]
    t_o, t_i = sch.split(t, [None, tiling.tile])
    vector, lane = sch.split(i, [None, ins.lanes])
    sch.reorder(p, t_o, step, t_i, vector, lane, pair)
    sch.reverse_compute_at(write_back, t_o)
    loops = sch.get_loops(write_back)
    vector_w, lane_w = sch.split(loops[-1], [None, ins.lanes])
    sch.vectorize(lane_w), sch.unroll(vector_w), sch.unroll(loops[-2])
    n, s, b = sch.get_loops(out)[:3]
    sch.parallel(sch.fuse(n, s, b) if tiling.ahead else sch.fuse(n, s))
    init = sch.get_loops(sch.decompose_reduction(product, step))
    sch.vectorize(init[-1]), sch.unroll(init[-2]), sch.unroll(init[-3])
    sch.unroll(t_i), sch.unroll(vector)
    sch.tensorize(lane, ins.name)
    return lowered(sch.mod["main"])
