"""Depthwise convolution: channels side by side in a vector, products added in int16 as long as that provably fits."""

import functools

import numpy as np
import tvm_ffi
from tvm import s_tir, te, tirx

from ..common.lowered import lowered
from ..common.overflow import INT16_MAX, worst_accumulators
from ..common.sizes import innermost_width
from ..processor.intrinsics import llvm

WIDENED = 8  # channels that ARM multiplies and widens at once


def depthwise_conv(conv, dtype, chain, lanes, output, offset=0, multiply=None):
    """Scheduled PrimFunc of a depthwise convolution with one filter per channel.

    Parameters
    ----------
    conv : Conv2D
        With in_channels == out_channels == groups.
    dtype : str
        Dtype of the activations, shape (batch, height, width, channels); "float32" gives a float kernel.
    chain : int
        Products that may be added in int16, from `int16_chain`.
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
        Arguments: activations, weights (kh * kw, channels), bias, multiplier (integer kernels),
        limits, the residual if there is one, and the result (batch, OH, OW, channels).
    """
    real = dtype == "float32"
    operand, total = ("float32", "float32") if real else ("int16", "int32")
    channels, taps = conv.out_channels, conv.kernel[0] * conv.kernel[1]
    x = te.placeholder((conv.batch, conv.height, conv.width, channels), dtype, "x")
    weights = te.placeholder((taps, channels), operand if real else "int8" if multiply else "int16", "weights")
    bias = te.placeholder((channels,), total, "bias")
    multiplier = te.placeholder((channels,), "float32", "multiplier")
    limits = output.limits()
    shape = (conv.batch, conv.out_height, conv.out_width, channels)
    residual = te.placeholder(shape, output.residual, "residual") if output.residual else None
    read = _inside(x, conv, offset)

    widening = multiply and dtype == "int8" and innermost_width(channels, lanes) == WIDENED

    def product(a, b):
        return llvm(multiply, "int16", a, b) if widening else a.astype(operand) * b.astype(operand)

    def store(n, h, w, c):
        products = [
            product(
                read(
                    n,
                    h * conv.strides[0] + (t // conv.kernel[1]) * conv.dilation[0] - conv.padding[0],
                    w * conv.strides[1] + (t % conv.kernel[1]) * conv.dilation[1] - conv.padding[1],
                    c,
                ),
                weights[t, c],
            )
            for t in range(taps)
        ]
        acc = bias[c]
        for start in range(0, taps, chain):
            acc = acc + _sum(products[start : start + chain]).astype(total)
        added = residual[n, h, w, c] if output.residual else None
        return output.store(acc, None if real else multiplier[c], limits, added)

    out = te.compute(shape, store, "out")
    args = [x, weights, bias, *([] if real else [multiplier]), limits, *([residual] if output.residual else []), out]
    return _schedule(te.create_prim_func(args), conv, lanes)


def int16_chain(weight, activation_range):
    """How many neighbouring products an int16 provably holds, for a layer's int8 weights; 0 if not even one."""
    if worst_accumulators(weight, np.zeros(weight.shape[0], "int64"), activation_range).max(initial=0) <= INT16_MAX:
        return weight[0].size
    largest = max(abs(activation_range[0]), abs(activation_range[1])) * int(np.abs(weight.astype("int32")).max())
    return INT16_MAX // max(largest, 1)


def byte_multiply(features):
    """LLVM's name of an instruction that multiplies int8 as int16, on a CPU with these features; None if it has none.

    Where there is none, bytes are widened first.
    """
    if "vmlal" in features:
        return "llvm.arm.neon.vmulls"
    return "llvm.aarch64.neon.smull" if features & {"smlal", "sdot"} else None


def pack_depthwise(weight, dtype="int16"):
    """(C, 1, kh, kw) weights as (kh * kw, C); int8 becomes `dtype`."""
    packed = weight.reshape(weight.shape[0], -1).T
    return np.ascontiguousarray(packed, "float32" if packed.dtype == np.float32 else dtype)


def _sum(terms):
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _inside(x, conv, offset):
    """A function that reads `x`, and the padding around it."""
    top, left, bottom, right = conv.padding
    fill = tirx.const(offset, x.dtype)

    def read(n, row, column, c):
        bounds = [(top, row >= 0), (bottom, row < conv.height), (left, column >= 0), (right, column < conv.width)]
        inside = [bound for width, bound in bounds if width]
        return te.if_then_else(te.all(*inside), x[n, row, column, c], fill) if inside else x[n, row, column, c]

    return read


def _schedule(func, conv, lanes):
    sch = s_tir.Schedule(func)
    n, h, w, c = sch.get_loops(sch.get_sblock("out"))
    c_o, c_i = sch.split(c, [None, innermost_width(conv.out_channels, lanes)])
    sch.vectorize(c_i)
    w_o, w_i = sch.split(w, [None, next(tile for tile in (4, 3, 2, 1) if conv.out_width % tile == 0)])
    sch.reorder(n, h, c_o, w_o, w_i, c_i)
    sch.unroll(w_i)
    sch.parallel(sch.fuse(n, h))
    if not any(conv.padding):
        return sch.mod["main"]
    sch.annotate(w_o, "pragma_loop_partition_hint", True)
    func = lowered(sch.mod["main"], aligned=False)
    return tvm_ffi.structural_map(func, [(tirx.For, functools.partial(_border_apart, conv))], order="post")


def _border_apart(conv, loop):
    """The loop over rows, with code of its own for those that read no padding above or below."""
    if loop.kind != tirx.ForKind.PARALLEL:
        return loop
    first = loop.loop_var % conv.out_height * conv.strides[0] - conv.padding[0]
    last = first + (conv.kernel[0] - 1) * conv.dilation[0]
    body = tirx.IfThenElse(tirx.all(first >= 0, last < conv.height), loop.body, loop.body)
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)
