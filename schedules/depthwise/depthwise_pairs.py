"""Depthwise convolution of int16 on x86, which has no quick product of 32 bits: two neighbours of a row at once.

`depthwise.textbook` on a padded copy whose elements are two pixels' activations, 16 bits each, side by side in a row of
the window; weights are pairs, too, with a zero where the window's width is odd. Schedule: `depthwise_large`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.script import tirx as T
from tvm.tirx import Expr

from ..common.epilogue import Output
from ..convolution.conv2d import Conv2D
from ..processor.instruction import Instruction
from ..processor.intrinsics import llvm
from ..processor.registered import registered
from .depthwise_large import scheduled

_NAMES = {  # of instructions that add two products of int16 to an int32, and of those that only multiply
    "vpdpwssd_512": "llvm.x86.avx512.vpdpwssd.512",
    "vpdpwssd_256": "llvm.x86.avx512.vpdpwssd.256",
    "pmaddwd_512": "llvm.x86.avx512.pmaddw.d.512",
    "pmaddwd_256": "llvm.x86.avx2.pmadd.wd",
}
_HALF = {"vpdpwssd_512": "vpdpwssd_256", "pmaddwd_512": "pmaddwd_256"}


def multiplying(instruction: Instruction | None, channels: int) -> str | None:
    """The name of what multiplies vectors of so many channels; None where there is nothing, or no whole vectors."""
    if instruction is None or instruction.isa != "x86":
        return None
    name: str | None = instruction.name
    while name is not None and channels % _lanes(name):
        name = _HALF.get(name)
    return name


def depthwise_pairs(conv: Conv2D, multiply: str, output: Output) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a depthwise convolution of int16 with one filter per channel.

    Parameters
    ----------
    conv : Conv2D
        With in_channels == out_channels == groups.
    multiply : str
        From `multiplying`.
    output : Output

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments as those of `depthwise.depthwise_conv`, the weights from `pack_pairs`.
    """
    channels, (kernel_height, kernel_width) = conv.out_channels, conv.kernel
    pairs = -(-kernel_width // 2)
    x = te.placeholder((conv.batch, conv.height, conv.width, channels), "int16", "x")
    weights = te.placeholder((kernel_height * pairs, channels), "int32", "weights")
    bias = te.placeholder((channels,), "int32", "bias")
    multiplier = te.placeholder((channels,), "float32", "multiplier")
    limits = output.limits()
    residual = te.placeholder(conv.nhwc_shape, output.residual, "residual") if output.residual else None
    padded = _paired(x, conv, pairs)
    kh, kw = te.reduce_axis((0, kernel_height), "kh"), te.reduce_axis((0, pairs), "kw")

    def products(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        row, column = h * conv.strides[0] + kh * conv.dilation[0], w * conv.strides[1] + 2 * kw * conv.dilation[1]
        a, b = padded[n, row, column, c], weights[kh * pairs + kw, c]
        return ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16)

    acc = te.compute(
        conv.nhwc_shape, lambda *at: te.sum(products(*at), axis=[kh, kw]), "acc", varargs_names=list("nhwc")
    )

    def store(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        added = None if residual is None else residual[n, h, w, c]
        return output.store(acc[n, h, w, c] + bias[c], multiplier[c], limits, added)

    out = te.compute(conv.nhwc_shape, store, "out")
    args = [x, weights, bias, multiplier, limits, residual, out]
    func = te.create_prim_func([arg for arg in args if arg is not None])
    return scheduled(func, conv, _lanes(multiply), _intrinsic(multiply))


def pack_pairs(weight: NDArray[Any]) -> NDArray[np.int32]:
    """(C, 1, kh, kw) weights as (kh * pairs, C): two of a row in each, the first in the lower half."""
    odd = weight.shape[3] % 2
    even = np.pad(weight[:, 0], [(0, 0), (0, 0), (0, odd)]).astype("int16")
    return np.ascontiguousarray(even).view("int32").reshape(len(weight), -1).T.copy()


def _lanes(multiply: str) -> int:
    return int(multiply.rpartition("_")[2]) // 32


def _paired(x: te.Tensor, conv: Conv2D, pairs: int) -> te.Tensor:
    """Each activation, with that of the window's next column above it."""
    top, left, bottom, _ = conv.padding
    height = conv.height + top + bottom
    width = (conv.out_width - 1) * conv.strides[1] + (2 * pairs - 2) * conv.dilation[1] + 1

    def pixel(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        inside = te.all(h >= top, h < top + conv.height, w >= left, w < left + conv.width)
        return te.if_then_else(inside, x[n, h - top, w - left, c], tirx.const(0, "int16")).astype("int32")

    def pair(n: Expr, h: Expr, w: Expr, c: Expr) -> Expr:
        return (pixel(n, h, w, c) & 0xFFFF) | (pixel(n, h, w + conv.dilation[1], c) << 16)

    return te.compute((conv.batch, height, width, conv.in_channels), pair, "padded", varargs_names=list("nhwc"))


def _intrinsic(multiply: str) -> str:
    """Name of the tensor intrinsic: both products of each lane, added to it."""
    return registered(f"eq_tvm.pairs_{multiply}", _definition, multiply)


def _definition(multiply: str) -> tuple[tirx.PrimFunc, tirx.PrimFunc]:
    lanes = _lanes(multiply)
    words = f"int16x{2 * lanes}"

    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (lanes,), "int32", offset_factor=1)
        B = T.match_buffer(b, (lanes,), "int32", offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:lanes], B[0:lanes])
            T.writes(C[0:lanes])
            for i in T.serial(lanes):
                with T.sblock("update"):
                    vi = T.axis.spatial(lanes, i)
                    C[vi] = C[vi] + (
                        T.shift_right(T.shift_left(A[vi], 16), 16) * T.shift_right(T.shift_left(B[vi], 16), 16)
                        + T.shift_right(A[vi], 16) * T.shift_right(B[vi], 16)
                    )

    def body(a: Expr, b: Expr, c: Expr) -> Expr:
        operands = [T.reinterpret(each, dtype=words) for each in (a, b)]
        if multiply.startswith("vpdpwssd"):
            return llvm(_NAMES[multiply], f"int32x{lanes}", c, *operands)
        return c + llvm(_NAMES[multiply], f"int32x{lanes}", *operands)

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (lanes,), "int32", offset_factor=1)
        B = T.match_buffer(b, (lanes,), "int32", offset_factor=1)
        C = T.match_buffer(c, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:lanes], B[0:lanes])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = body(
                A.vload([0], f"int32x{lanes}"), B.vload([0], f"int32x{lanes}"), C.vload([0], f"int32x{lanes}")
            )

    return description, implementation
