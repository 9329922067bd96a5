"""Depthwise convolution: channels side by side in a vector, products added in int16 as long as that provably fits.

The plain algorithm is `textbook`. The kernel writes its sum over the window down product by product, and adds runs of
`chain` of them in int16 before they are widened. Padding is no copy of the input: what is outside is replaced as it is
read, in code of its own for the rows that reach outside.
"""

import functools
from collections.abc import Callable, Collection

import numpy as np
import tvm_ffi
from tvm import s_tir, te, tirx
from tvm.ir import Expr

from ..common.epilogue import Output
from ..common.loops import loops
from ..common.lowered import lowered
from ..common.overflow import INT16_MAX, worst_accumulators
from ..common.overlapping import covering_width, overlapped
from ..common.statements import with_body
from ..convolution.conv2d import Conv2D
from ..processor.intrinsics import llvm

WIDENED = 8  # channels that ARM multiplies and widens at once


def textbook(x: te.Tensor, weight: te.Tensor, conv: Conv2D) -> te.Tensor:
    """The plain algorithm.

    Parameters
    ----------
    x : tvm.te.Tensor
        (N, H, W, C) with the padding around it.
    weight : tvm.te.Tensor
        (kh, kw, C), of the same dtype.
    conv : Conv2D

    Returns
    -------
    tvm.te.Tensor
        (N, OH, OW, C): the sums of products.
    """
    (sh, sw), (dh, dw) = conv.strides, conv.dilation
    i, j = te.reduce_axis((0, conv.kernel[0]), "i"), te.reduce_axis((0, conv.kernel[1]), "j")
    return te.compute(
        conv.nhwc_shape,
        lambda n, h, w, c: te.sum(x[n, h * sh + i * dh, w * sw + j * dw, c] * weight[i, j, c], axis=[i, j]),
    )


def depthwise_conv(
    conv: Conv2D,
    dtype: str,
    chain: int,
    lanes: int,
    output: Output,
    offset: int = 0,
    multiply: str | None = None,
) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a depthwise convolution with one filter per channel.

    Parameters
    ----------
    conv : Conv2D
        With in_channels == out_channels == groups.
    dtype : str
        Dtype of the activations, integers.
    chain : int
        Products that may be added in int16, from `int16_chain`; 0: all are of int32.
    lanes : int
        Channels per vector.
    output : Output
    offset : int
        The stored form of 0: padding.
    multiply : str, optional
        The instruction that multiplies bytes, from `byte_multiply`; the weights are int8 then.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: activations (N, H, W, C), weights (kh * kw, C) of int16 or int8, bias int32 (C,), multiplier float32
        (C,), limits, the residual if there is one, and the result, both (N, OH, OW, C).
    """
    channels = conv.out_channels
    x = te.placeholder((conv.batch, conv.height, conv.width, channels), dtype, "x")
    taps = conv.kernel[0] * conv.kernel[1]
    weights = te.placeholder((taps, channels), "int8" if multiply else "int16", "weights")
    bias = te.placeholder((channels,), "int32", "bias")
    multiplier = te.placeholder((channels,), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.nhwc_shape, output.residual, "residual") if output.residual else None

    widening = multiply if dtype == "int8" and covering_width(channels, lanes) == WIDENED else None
    product = _product(widening, "int16" if chain else "int32")
    window = _window(x, conv, offset)

    def value(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        products = [product(activation, weights[t, c]) for t, activation in enumerate(window(n, h, w, c))]
        acc = bias[c]
        for start in range(0, taps, chain or taps):
            acc = acc + functools.reduce(lambda a, b: a + b, products[start : start + (chain or taps)]).astype("int32")
        added = None if residual is None else residual[n, h, w, c]
        return output.store(acc, multiplier[c], limits, added)

    out = te.compute(conv.nhwc_shape, value, "out")
    args = [x, weights, bias, multiplier, limits, residual, out]
    return _scheduled(te.create_prim_func([arg for arg in args if arg is not None]), conv, lanes)


def int16_chain(weight: np.ndarray, activation_range: tuple[int, int]) -> int:
    """How many neighbouring products an int16 provably holds, for a layer's int8 (C, 1, kh, kw); 0 if not even one."""
    if worst_accumulators(weight, np.zeros(weight.shape[0], "int64"), activation_range).max(initial=0) <= INT16_MAX:
        return int(weight[0].size)
    largest = max(abs(activation_range[0]), abs(activation_range[1])) * int(np.abs(weight.astype("int32")).max())
    return INT16_MAX // max(largest, 1)


def byte_multiply(features: Collection[str]) -> str | None:
    """LLVM's name of an instruction that multiplies int8 as int16, on a CPU with these features; None if it has none.

    Where there is none, bytes are widened first.
    """
    if "vmlal" in features:
        return "llvm.arm.neon.vmulls"
    return "llvm.aarch64.neon.smull" if {"smlal", "sdot"} & set(features) else None


def pack_depthwise(weight: np.ndarray, dtype: str = "int16") -> np.ndarray:
    """(C, 1, kh, kw) weights as (kh * kw, C); int8 becomes `dtype`, float32 stays."""
    packed = weight.reshape(weight.shape[0], -1).T
    return np.ascontiguousarray(packed, "float32" if packed.dtype == np.float32 else dtype)


def _product(multiply: str | None, dtype: str) -> Callable[[Expr, Expr], Expr]:
    """Multiplication of an activation and a weight, by an instruction for bytes or widened."""
    if multiply:
        return lambda a, b: llvm(multiply, "int16", a, b)
    return lambda a, b: a.astype(dtype) * b.astype(dtype)


def _window(x: te.Tensor, conv: Conv2D, offset: int) -> Callable[[Expr, Expr, Expr, Expr], list[Expr]]:
    """The activations that a result is made of, row by row of its window; `offset` where that is padding."""
    (sh, sw), (dh, dw), (top, left, bottom, right) = conv.strides, conv.dilation, conv.padding
    fill = tirx.const(offset, x.dtype)

    def read(n: Expr, row: Expr, column: Expr, c: Expr) -> Expr:
        bounds = [(top, row >= 0), (bottom, row < conv.height), (left, column >= 0), (right, column < conv.width)]
        inside = [bound for width, bound in bounds if width]
        return te.if_then_else(te.all(*inside), x[n, row, column, c], fill) if inside else x[n, row, column, c]

    def window(n: Expr, h: Expr, w: Expr, c: Expr) -> list[Expr]:
        places = [(i, j) for i in range(conv.kernel[0]) for j in range(conv.kernel[1])]
        return [read(n, h * sh + i * dh - top, w * sw + j * dw - left, c) for i, j in places]

    return window


def _scheduled(func: tirx.PrimFunc, conv: Conv2D, lanes: int) -> tirx.PrimFunc:
    """Vectors of channels, a few pixels together, rows in parallel; borders apart from the rest."""
    sch = s_tir.Schedule(func)
    out = loops(sch, "out")
    vector, lane = sch.split(out.c, [None, covering_width(conv.out_channels, lanes)])
    sch.vectorize(lane)
    tile, pixel = sch.split(out.w, [None, next(pixels for pixels in (4, 3, 2, 1) if conv.out_width % pixels == 0)])
    sch.reorder(out.n, out.h, vector, tile, pixel, lane)
    sch.unroll(pixel)
    sch.parallel(sch.fuse(out.n, out.h))
    if not any(conv.padding):
        return overlapped(sch.mod["main"])
    sch.annotate(tile, "pragma_loop_partition_hint", True)
    func = lowered(overlapped(sch.mod["main"]), aligned=False)
    return tvm_ffi.structural_map(func, [(tirx.For, functools.partial(border_apart, conv))], order="post")


def border_apart(conv: Conv2D, loop: tirx.For) -> tirx.For:
    """The parallel loop over all rows, with code of its own for those that read no padding above or below.

    Any other loop stays as it is.
    """
    if loop.kind != tirx.ForKind.PARALLEL:
        return loop
    first = loop.loop_var % conv.out_height * conv.strides[0] - conv.padding[0]
    last = first + (conv.kernel[0] - 1) * conv.dilation[0]
    body = tirx.IfThenElse(tirx.all(first >= 0, last < conv.height), loop.body, loop.body)
    return with_body(loop, body)
