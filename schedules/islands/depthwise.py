"""Depthwise convolution of float32: the sums of neighbouring pixels in registers, weights read once for all of them.

As in `depthwise.depthwise`, padding is no copy of the input: what is outside is 0 as it is read, in code of its own
for the rows and columns that reach outside.
"""

import functools

import tvm_ffi
from tvm import s_tir, te, tirx
from tvm.ir import Expr
from tvm.ir.module import IRModule

from ..common.epilogue import Output
from ..common.loops import along, loops
from ..common.lowered import lowered
from ..common.sizes import innermost_width
from ..convolution.conv2d import Conv2D
from ..depthwise.depthwise import border_apart

WIDEST = 14  # pixels of a tile: what comes on top of its products is little then
PER_TILE = 2  # pixels' time that a tile takes besides


def depthwise(conv: Conv2D, lanes: int, registers: int, output: Output) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a depthwise convolution with one filter per channel.

    Parameters
    ----------
    conv : Conv2D
        With in_channels == out_channels == groups.
    lanes : int
        Channels per vector.
    registers : int
        Vector registers of the processor.
    output : Output

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments, all float32: activations (N, H, W, C), weights (kh * kw, C), bias (C,), limits, the residual if
        there is one, and the result, both (N, OH, OW, C).
    """
    tile = choose_tile(conv.out_width, registers)
    padded = -(-conv.out_width // tile) * tile
    channels = conv.out_channels
    x = te.placeholder((conv.batch, conv.height, conv.width, channels), "float32", "x")
    weights = te.placeholder((conv.kernel[0] * conv.kernel[1], channels), "float32", "weights")
    bias = te.placeholder((channels,), "float32", "bias")
    limits = output.limits()
    residual = te.placeholder(conv.nhwc_shape, output.residual, "residual") if output.residual else None
    i, j = te.reduce_axis((0, conv.kernel[0]), "i"), te.reduce_axis((0, conv.kernel[1]), "j")

    def product(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        return _activation(x, conv, padded, (n, h, w, c), (i, j)) * weights[i * conv.kernel[1] + j, c]

    acc = te.compute(
        (conv.batch, conv.out_height, padded, channels),
        lambda n, h, w, c: te.sum(product(n, h, w, c), axis=[i, j]),
        "acc",
    )

    def store(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        added = None if residual is None else residual[n, h, w, c]
        return output.store(acc[n, h, w, c] + bias[c], None, limits, added)

    out = te.compute(conv.nhwc_shape, store, "out")
    args = [arg for arg in (x, weights, bias, limits, residual, out) if arg is not None]
    return _scheduled(te.create_prim_func(args), conv, tile, lanes)


def choose_tile(columns: int, registers: int) -> int:
    """Pixels of a tile, which may reach beyond the last column, in the time of pixels that are needed.

    Parameters
    ----------
    columns : int
        Of the result.
    registers : int
        As `depthwise` takes them.
    """
    most = min(WIDEST, registers // 2, columns)
    return min(range(1, most + 1), key=lambda tile: (-(-columns // tile) * (tile + PER_TILE), -tile))


def _activation(
    x: te.Tensor, conv: Conv2D, padded: int, place: tuple[Expr, Expr, Expr, Expr], tap: tuple[Expr, Expr]
) -> Expr:
    """What a result, at a place of NHWC, multiplies in a tap of its window."""
    (sh, sw), (dh, dw), (top, left, bottom, right) = conv.strides, conv.dilation, conv.padding
    n, h, w, c = place
    row, column = h * sh + tap[0] * dh - top, w * sw + tap[1] * dw - left
    bounds = [
        (top, row >= 0),
        (bottom, row < conv.height),
        (left, column >= 0),
        (right or padded > conv.out_width, column < conv.width),
    ]
    inside = [bound for reached, bound in bounds if reached]
    value = x[n, row, column, c]
    return te.if_then_else(te.all(*inside), value, tirx.const(0, "float32")) if inside else value


def _scheduled(func: tirx.PrimFunc, conv: Conv2D, tile: int, lanes: int) -> tirx.PrimFunc:
    """Vectors of channels, all taps of a tile written out, rows in parallel; borders apart from the rest."""
    sch = s_tir.Schedule(func)
    acc = loops(sch, "acc")
    vector, lane = sch.split(acc.c, [None, innermost_width(conv.out_channels, lanes)])
    tiles, pixel = sch.split(acc.w, [None, tile])
    sch.reorder(acc.n, acc.h, vector, tiles, acc.i, acc.j, pixel, lane)
    sch.set_scope(sch.get_sblock("acc"), 0, "local")
    sch.reverse_compute_at(sch.get_sblock("out"), tiles, preserve_unit_loops=True)
    out = loops(sch, "out")
    sch.unroll(out.w)
    sch.vectorize(out.c)
    sch.parallel(sch.fuse(acc.n, acc.h))
    for loop in (acc.i, acc.j, pixel):
        sch.unroll(loop)
    sch.vectorize(lane)
    init = sch.decompose_reduction(sch.get_sblock("acc"), acc.i)
    sch.unroll(along(sch, init, "w")[-1])
    sch.vectorize(along(sch, init, "c")[-1])
    sch.annotate(tiles, "pragma_loop_partition_hint", True)
    func = lowered(sch.mod["main"], aligned=False)
    if not any(conv.padding):
        return func
    apart = tvm_ffi.structural_map(func, [(tirx.For, functools.partial(border_apart, conv))], order="post")
    return tirx.transform.ConvertSSA()(IRModule({"main": apart}))["main"]
