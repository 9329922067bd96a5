"""Depthwise convolution by large kernels: loops over the window, where `depthwise` would write thousands of products.

`depthwise.textbook` on a padded copy: neighbouring pixels by a vector of channels in registers, then the epilogue.
"""

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.epilogue import Output
from ..common.loops import along, loops
from ..common.lowered import lowered
from ..common.sizes import innermost_width, largest_divisor
from ..convolution.conv2d import Conv2D

LARGE = 64  # products of a window beyond which it is large
PIXELS = 8  # whose sums are in registers together, at most


def depthwise_large(conv: Conv2D, dtype: str, lanes: int, output: Output, zero: int = 0) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a depthwise convolution with one filter per channel.

    Parameters
    ----------
    conv : Conv2D
        With in_channels == out_channels == groups.
    dtype : str
        Dtype of the activations; "float32" gives a float kernel.
    lanes : int
        Channels per vector of sums.
    output : Output
    zero : int
        How 0 is stored: padding.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments as those of `depthwise.depthwise_conv`, the weights int16 or float32.
    """
    real, channels = dtype == "float32", conv.out_channels
    operand, total = ("float32", "float32") if real else ("int16", "int32")
    x = te.placeholder((conv.batch, conv.height, conv.width, channels), dtype, "x")
    weights = te.placeholder((conv.kernel[0] * conv.kernel[1], channels), operand, "weights")
    bias = te.placeholder((channels,), total, "bias")
    multiplier = None if real else te.placeholder((channels,), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.nhwc_shape, output.residual, "residual") if output.residual else None
    padded = _padded(x, conv, operand, zero)
    kh, kw = te.reduce_axis((0, conv.kernel[0]), "kh"), te.reduce_axis((0, conv.kernel[1]), "kw")

    def product(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        row, column = h * conv.strides[0] + kh * conv.dilation[0], w * conv.strides[1] + kw * conv.dilation[1]
        return padded[n, row, column, c].astype(total) * weights[kh * conv.kernel[1] + kw, c].astype(total)

    acc = te.compute(
        conv.nhwc_shape, lambda *at: te.sum(product(*at), axis=[kh, kw]), "acc", varargs_names=list("nhwc")
    )

    def store(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        added = None if residual is None else residual[n, h, w, c]
        return output.store(acc[n, h, w, c] + bias[c], None if multiplier is None else multiplier[c], limits, added)

    out = te.compute(conv.nhwc_shape, store, "out")
    args = [x, weights, bias, multiplier, limits, residual, out]
    func = te.create_prim_func([arg for arg in args if arg is not None])
    return scheduled(func, conv, innermost_width(channels, lanes))


def _padded(x: te.Tensor, conv: Conv2D, operand: str, zero: int) -> te.Tensor:
    """A copy of the activations in the type that is multiplied, with `zero` around it."""
    top, left, bottom, right = conv.padding

    def element(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        inside = te.all(h >= top, h < top + conv.height, w >= left, w < left + conv.width)
        return te.if_then_else(inside, x[n, h - top, w - left, c].astype(operand), tirx.const(zero, operand))

    shape = (conv.batch, conv.height + top + bottom, conv.width + left + right, conv.in_channels)
    return te.compute(shape, element, "padded")


def scheduled(func: tirx.PrimFunc, conv: Conv2D, width: int, intrinsic: str | None = None) -> tirx.PrimFunc:
    """Threads share rows; each step of the window goes over a tile's pixels, vectors of so many channels.

    The blocks are called "padded", "acc" and "out"; a tensor intrinsic may add a step's products to a vector.
    """
    sch = s_tir.Schedule(func)
    copy = loops(sch, "padded")
    sch.vectorize(sch.split(copy.c, [None, width])[1])
    if intrinsic:
        sch.annotate(copy.w, "pragma_loop_partition_hint", True)
    sch.parallel(sch.fuse(copy.n, copy.h))

    out = loops(sch, "out")
    vector, lane = sch.split(out.c, [None, width])
    tile, pixel = sch.split(out.w, [None, largest_divisor(conv.out_width, PIXELS)])
    sch.reorder(out.n, out.h, vector, tile, pixel, lane)
    sch.set_scope(sch.get_sblock("acc"), 0, "local")
    sch.compute_at(sch.get_sblock("acc"), tile, preserve_unit_loops=True)
    sch.unroll(pixel)
    sch.vectorize(lane)

    acc = loops(sch, "acc")
    sch.reorder(acc.kh, acc.kw, acc.w, acc.c)
    sch.parallel(sch.fuse(out.n, out.h))
    sch.unroll(acc.w)
    if not intrinsic:
        sch.vectorize(acc.c)
    init = sch.decompose_reduction(sch.get_sblock("acc"), acc.kh)
    sch.unroll(loops(sch, init).w)
    sch.vectorize(along(sch, init, "c")[-1])
    if intrinsic:
        sch.tensorize(acc.c, intrinsic)
    return lowered(sch.mod["main"], aligned=not intrinsic)
