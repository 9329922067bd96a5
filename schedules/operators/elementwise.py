"""Elementwise kernels of the integer program: quantize, dequantize, rescale, residual add.

Scales and limits are arguments, not constants, so that layers of one shape share one function.
"""

import math
from collections.abc import Sequence

from tvm import s_tir, te, tirx
from tvm.tirx import Expr

from ..common.epilogue import ACC_LIMIT, Output, fixed_point, rint, value_of
from ..common.loops import loops
from ..common.sizes import PARALLEL_FROM, innermost_width
from .quotient import MOST, quotient


def quantize(shape: Sequence[int], output: Output, transpose: bool, fused: bool = False) -> tirx.PrimFunc:
    """float32 -> integer: clip(rint(x / scale)).

    Parameters
    ----------
    shape : sequence of int
        Of x.
    output : Output
        Its dtype.
    transpose : bool
        x is (N, C, H, W) and the result (N, H, W, C); else both have the `shape`.
    fused : bool
        Divide by `quotient`, on processors with fused multiply-adds.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: x, scale float32 (1,) or, if `fused`, with its reciprocal (2,), limits, result.
    """
    x = te.placeholder(shape, "float32", "x")
    scale = te.placeholder((1 + fused,), "float32", "scale")
    limits = output.limits()

    def divided(number: Expr) -> Expr:
        """Within `ACC_LIMIT`, a power of two."""
        if not fused:
            return te.min(te.max(number / scale[0], -ACC_LIMIT), ACC_LIMIT)
        most = scale[0] * tirx.const(MOST, "float32")  # infinity has no remainder
        return quotient(te.min(te.max(number, -most), most), scale[0], scale[1])

    def value(*at: Expr) -> Expr:
        return output.narrow(output.shifted(rint(divided(x[at]))), limits)

    names = list("nchw") if transpose else None
    result = te.compute(shape, value, "quantized", varargs_names=names)
    args = [x, scale, limits]
    if not transpose:
        return flat(te.create_prim_func([*args, result]))
    batch, channels, height, width = shape
    out = te.compute((batch, height, width, channels), lambda n, h, w, c: result[n, c, h, w], "out")
    sch = s_tir.Schedule(te.create_prim_func([*args, out]))
    at = loops(sch, "out")
    # one row: vectors along the width, then interleaved
    sch.compute_at(sch.get_sblock("quantized"), at.h, preserve_unit_loops=True)
    sch.vectorize(sch.split(loops(sch, "quantized").w, [None, innermost_width(width, 16)])[1])
    if channels <= 16:
        sch.unroll(at.c)
    sch.parallel(sch.fuse(at.n, at.h))
    return sch.mod["main"]


def dequantize(shape: Sequence[int], dtype: str, transpose: bool, zero: int = 0) -> tirx.PrimFunc:
    """Integer -> float32: q * scale within the limits.

    Parameters
    ----------
    shape : sequence of int
        Of q.
    dtype : str
        Of q.
    transpose : bool
        q is (N, H, W, C) and the result (N, C, H, W); else both have the `shape`.
    zero : int
        What was added to store q.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: q, scale float32 (1,), limits float32 (2,), result.
    """
    q = te.placeholder(shape, dtype, "q")
    scale = te.placeholder((1,), "float32", "scale")
    output = Output("float32")
    limits = output.limits()

    def value(*at: Expr) -> Expr:
        return output.store(value_of(q[at], zero), scale[0], limits)

    if not transpose:
        return flat(te.create_prim_func([q, scale, limits, te.compute(shape, value, "out")]))
    batch, height, width, channels = shape
    out = te.compute((batch, channels, height, width), lambda n, c, h, w: value(n, h, w, c), "out")
    sch = s_tir.Schedule(te.create_prim_func([q, scale, limits, out]))
    at = loops(sch, "out")
    sch.parallel(sch.fuse(at.n, at.c))
    sch.vectorize(sch.split(at.w, [None, innermost_width(width, 16)])[1])
    return sch.mod["main"]


def rescale(shape: Sequence[int], dtype: str, output: Output, zero: int = 0) -> tirx.PrimFunc:
    """Integer -> integer: clip(rint(q * multiplier)) of a q of the `shape` and `dtype`, stored with `zero` added.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: q, multiplier float32 (1,), limits, result.
    """
    q = te.placeholder(shape, dtype, "q")
    multiplier = te.placeholder((1,), "float32", "multiplier")
    limits = output.limits()
    out = te.compute(shape, lambda *at: output.store(value_of(q[at], zero), multiplier[0], limits), "out")
    return flat(te.create_prim_func([q, multiplier, limits, out]))


def add(
    shape: Sequence[int], dtypes: tuple[str, str], output: Output, zeros: tuple[int, int] = (0, 0)
) -> tirx.PrimFunc:
    """Residual add in fixed point: clip((a * scales[0] + b * scales[1] + half) >> fraction).

    Parameters
    ----------
    shape : sequence of int
        Of both tensors and of the result.
    dtypes : (str, str)
        Of a and b.
    output : Output
        Its dtype and fraction.
    zeros : (int, int)
        What was added to store a and b.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: a, b, scales int32 (2,), limits, result.
    """
    a, b = (te.placeholder(shape, dtype, name) for dtype, name in zip(dtypes, "ab", strict=True))
    scales = te.placeholder((2,), "int32", "scales")
    limits = output.limits()

    def value(*at: Expr) -> Expr:
        total = value_of(a[at], zeros[0]) * scales[0] + value_of(b[at], zeros[1]) * scales[1]
        return output.narrow(output.shifted(fixed_point(total, output.fraction)), limits)

    return flat(te.create_prim_func([a, b, scales, limits, te.compute(shape, value, "out")]))


def add_constant(
    shape: Sequence[int], constant: Sequence[int], dtype: str, output: Output, zero: int = 0
) -> tirx.PrimFunc:
    """Addition of a constant in fixed point: clip((q * R + constant + half) >> fraction), R being `limits[2]`.

    Parameters
    ----------
    shape : sequence of int
        Of q and of the result.
    constant : sequence of int
        The constant's, which is broadcast to that: of as many axes.
    dtype : str
        Of q.
    output : Output
        Its dtype and fraction.
    zero : int
        What was added to store q.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: q, constant int32, limits, result.
    """
    q, values = te.placeholder(shape, dtype, "q"), te.placeholder(constant, "int32", "values")
    limits = output.limits()

    def value(*at: Expr) -> Expr:
        place = [0 if extent == 1 else index for extent, index in zip(constant, at, strict=True)]
        total = value_of(q[at], zero) * limits[2] + values[tuple(place)]
        return output.narrow(output.shifted(fixed_point(total, output.fraction)), limits)

    sch = s_tir.Schedule(te.create_prim_func([q, values, limits, te.compute(shape, value, "out")]))
    *outer, inner = sch.get_loops(sch.get_sblock("out"))
    sch.vectorize(sch.split(inner, [None, innermost_width(shape[-1], 16)])[1])
    if outer and math.prod(shape) >= PARALLEL_FROM:
        sch.parallel(sch.fuse(*outer))
    return sch.mod["main"]


def flat(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Schedule a function whose one block works element by element on tensors of one shape."""
    sch = s_tir.Schedule(func)
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    nest = sch.get_loops(block)
    size = math.prod(int(sch.get(loop).extent) for loop in nest)
    width = innermost_width(size, 64)
    outer, inner = sch.split(sch.fuse(*nest), [None, width])
    sch.vectorize(inner)
    if size > 16384:
        outer, _ = sch.split(outer, [None, innermost_width(size // width, 64)])
        sch.parallel(outer)
    return sch.mod["main"]
