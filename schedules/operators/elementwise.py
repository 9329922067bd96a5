"""Elementwise kernels of the integer program: quantize, dequantize, rescale, residual add.

Scales and limits are arguments, not constants, so that layers of one shape share one function.
"""

import math

from tvm import s_tir, te

from ..common.epilogue import ACC_LIMIT, Output, fixed_point, rint
from ..common.sizes import innermost_width


def quantize(shape, output, transpose):
    """float32 -> integer: clip(rint(x / scale)). Arguments: x, scale (1,), limits, result.

    With `transpose`, x is (N, C, H, W) and the result (N, H, W, C).
    """
    x = te.placeholder(shape, "float32", "x")
    scale = te.placeholder((1,), "float32", "scale")
    limits = output.limits()

    def value(*at):
        return output.narrow(rint(te.min(te.max(x[at] / scale[0], -ACC_LIMIT), ACC_LIMIT)), limits)

    result = te.compute(shape, value, "quantized")
    args = [x, scale, limits]
    if not transpose:
        return flat(te.create_prim_func([*args, result]))
    batch, channels, height, width = shape
    out = te.compute((batch, height, width, channels), lambda n, h, w, c: result[n, c, h, w], "out")
    sch = s_tir.Schedule(te.create_prim_func([*args, out]))
    n, h, _, c = sch.get_loops(sch.get_sblock("out"))
    # one row: vectors along the width, then interleaved
    sch.compute_at(sch.get_sblock("quantized"), h, preserve_unit_loops=True)
    inner = sch.get_loops(sch.get_sblock("quantized"))[-1]
    sch.vectorize(sch.split(inner, [None, innermost_width(width, 16)])[1])
    if channels <= 16:
        sch.unroll(c)
    sch.parallel(sch.fuse(n, h))
    return sch.mod["main"]


def dequantize(shape, dtype, transpose):
    """Integer -> float32: q * scale within the limits. Arguments: q, scale (1,), limits (2,), result.

    With `transpose`, q is (N, H, W, C) of that `shape` and the result (N, C, H, W).
    """
    q = te.placeholder(shape, dtype, "q")
    scale = te.placeholder((1,), "float32", "scale")
    output = Output("float32")
    limits = output.limits()

    def value(*at):
        return output.store(q[at].astype("int32"), scale[0], limits)

    if not transpose:
        return flat(te.create_prim_func([q, scale, limits, te.compute(shape, value, "out")]))
    batch, height, width, channels = shape
    out = te.compute((batch, channels, height, width), lambda n, c, h, w: value(n, h, w, c), "out")
    sch = s_tir.Schedule(te.create_prim_func([q, scale, limits, out]))
    n, c, _, w = sch.get_loops(sch.get_sblock("out"))
    sch.parallel(sch.fuse(n, c))
    sch.vectorize(sch.split(w, [None, innermost_width(width, 16)])[1])
    return sch.mod["main"]


def rescale(shape, dtype, output):
    """Integer -> integer: clip(rint(q * multiplier)). Arguments: q, multiplier (1,), limits, result."""
    q = te.placeholder(shape, dtype, "q")
    multiplier = te.placeholder((1,), "float32", "multiplier")
    limits = output.limits()
    out = te.compute(shape, lambda *at: output.store(q[at].astype("int32"), multiplier[0], limits), "out")
    return flat(te.create_prim_func([q, multiplier, limits, out]))


def add(shape, dtypes, output):
    """Residual add in fixed point. Arguments: a, b, scales int32 (2,), limits, result."""
    a, b = (te.placeholder(shape, dtype, name) for dtype, name in zip(dtypes, "ab", strict=True))
    scales = te.placeholder((2,), "int32", "scales")
    limits = output.limits()

    def value(*at):
        total = a[at].astype("int32") * scales[0] + b[at].astype("int32") * scales[1]
        return output.narrow(fixed_point(total, output.fraction), limits)

    return flat(te.create_prim_func([a, b, scales, limits, te.compute(shape, value, "out")]))


def flat(func):
    """Schedule a function whose one block works element by element on tensors of one shape."""
    sch = s_tir.Schedule(func)
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    loops = sch.get_loops(block)
    size = math.prod(int(sch.get(loop).extent) for loop in loops)
    width = innermost_width(size, 64)
    outer, inner = sch.split(sch.fuse(*loops), [None, width])
    sch.vectorize(inner)
    if size > 16384:
        outer, _ = sch.split(outer, [None, innermost_width(size // width, 64)])
        sch.parallel(outer)
    return sch.mod["main"]
