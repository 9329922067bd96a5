"""The lowering rules of poolings: averages stay pending, maxima are emitted."""

from dataclasses import replace

import numpy as np
from tvm import relax

from eq_tvm.schedules.operators.pooling import Pool2D

from ...graph.rewrite import ints, shape
from ...quantized.float_operators.pooling import window_sizes
from ..lowered_values import Average, Tensor
from ..lowering import Lowering


def mean(low: Lowering, call: relax.Call) -> Average | None:
    """`mean` over height and width. See `rules`. Floats of NCHW have what they add side by side already."""
    axes = sorted(int(axis) % len(shape(call.args[0])) for axis in call.attrs.axis or [])
    source = _source(low, call)
    if source is None or len(source.shape) != 4 or axes != [2, 3] or not (source.quantized or source.nhwc):
        return None
    source = low.layout(source, True)
    n, h, w, c = source.shape
    pool = Pool2D(n, h, w, c, (h, w), (1, 1), (0, 0, 0, 0), 1, 1)
    return Average(source, pool, np.full((1, 1), h * w, "float64"), flat=not call.attrs.keepdims)


def avg_pool2d(low: Lowering, call: relax.Call) -> Average | None:
    """`nn.avg_pool2d` of an NCHW tensor."""
    found = _pool(low, call)
    if found is None:
        return None
    source, pool = found
    counts = window_sizes(call.attrs, (pool.height, pool.width), (pool.out_height, pool.out_width))
    return Average(source, pool, counts.astype("float64"))


def max_pool2d(low: Lowering, call: relax.Call) -> Tensor | None:
    """`nn.max_pool2d` of an NCHW tensor."""
    found = _pool(low, call)
    return found and replace(found[0], expr=low.kernels.maximum(*found))


def _source(low: Lowering, call: relax.Call) -> Tensor | None:
    """What is pooled, if kernels can read it: integers that stand for numbers, or float32."""
    source = low.tensor(call.args[0])
    return source if source is not None and (source.quantized or source.dtype == "float32") else None


def _pool(low: Lowering, call: relax.Call) -> tuple[Tensor, Pool2D] | None:
    """The tensor as NHWC, and the pooling's shape."""
    attrs, source = call.attrs, _source(low, call)
    if source is None or attrs.layout != "NCHW":
        return None
    source = low.layout(source, True)
    n, h, w, c = source.shape
    (kh, kw), (sh, sw), (dh, dw) = map(ints, (attrs.pool_size, attrs.strides, attrs.dilation))
    top, left, bottom, right = ints(attrs.padding)
    out_height, out_width = shape(call)[2:]
    return source, Pool2D(n, h, w, c, (kh, kw), (sh, sw), (top, left, bottom, right), out_height, out_width, (dh, dw))
