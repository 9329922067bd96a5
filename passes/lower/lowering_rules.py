"""What each operator of an annotated module lowers to: one rule for each, or None where it stays a float operator.

A rule gets the lowering in progress (`lower_to_integer`) and the call, and returns a value (`lowered_values`).
"""

from dataclasses import replace

import numpy as np
from tvm import relax

from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.operators.pooling import Pool2D

from ..graph.network import product_order
from ..graph.pointwise import FUNCTIONS
from ..graph.resizing import is_bilinear, is_exact, sources, weights
from ..graph.rewrite import array, shape
from .lower_pointwise import pointwise
from .lowered_values import NHWC_OF_NCHW, Average, Joined, Linear, Product, Quantizing, Sum, Tensor, Weights, is_open
from .materialize import bound


def _quantize(low, call):
    x, scale, zero = call.args
    scale, zero = array(scale), array(zero)
    if scale is None or zero is None or scale.size != 1 or zero.any() or isinstance(low.value(x), relax.Expr):
        return None
    info = np.iinfo(str(call.attrs.out_dtype))
    return Quantizing(low.value(x), np.float32(scale.reshape(())), info.min, info.max)


def _dequantize(low, call):
    x, scale, zero = call.args
    scales, zero = array(scale), array(zero)
    if scales is None or zero is None or zero.any() or str(call.attrs.out_dtype) != "float32":
        return None
    constant = array(x)
    if constant is not None:
        return Weights(constant, scales.reshape(-1).astype("float32"), int(call.attrs.axis) % max(constant.ndim, 1))
    value = low.value(x)
    if not isinstance(value, Quantizing) or np.float32(scales.reshape(-1)[0]) != value.scale or scales.size != 1:
        return None
    return low.quantized(value.value, value.scale, value.low, value.high)


def _clip(low, call):
    value = low.value(call.args[0])
    least, greatest = (float(arg.value) for arg in call.args[1:])
    if isinstance(value, Quantizing):
        return replace(value, low=max(value.low, int(least)), high=min(value.high, int(greatest)))
    return None if isinstance(value, relax.Expr | Weights) else bound(value, least, greatest)


def _relu(low, call):
    value = low.value(call.args[0])
    return None if isinstance(value, relax.Expr | Weights | Quantizing) else bound(value, 0.0, np.inf)


def _conv2d(low, call):
    attrs = call.attrs
    if (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) != ("NCHW", "OIHW", "NCHW"):
        return None
    batch, channels, height, width = shape(call.args[0])
    out_channels, _, *kernel = shape(call.args[1])
    strides, padding, dilation = map(_ints, (attrs.strides, attrs.padding, attrs.dilation))
    conv = Conv2D(
        batch, height, width, channels, out_channels, tuple(kernel), strides, padding, dilation, int(attrs.groups)
    )
    return _linear(low, call, conv, lambda w: w, 0)


def _matmul(low, call):
    left, right = (shape(arg) for arg in call.args)
    if len(left) != 2 or len(right) != 2:
        return None
    conv = Conv2D(1, 1, left[0], right[0], right[1])
    return _linear(low, call, conv, lambda w: np.ascontiguousarray(w.T)[..., None, None], 1)


def _linear(low, call, conv, to_oihw, channel_axis):
    source, weight = low.tensor(call.args[0]), low.value(call.args[1])
    if source is None:
        return None
    if isinstance(weight, Weights):
        per_channel = weight.axis == channel_axis or weight.scales.size == 1
        if source.quantized and weight.values.dtype == np.int8 and per_channel:
            scales = np.broadcast_to(weight.scales, conv.out_channels).copy()
            return Linear(
                low.name,
                low.layout(source, True),
                conv,
                to_oihw(weight.values),
                scales,
                np.zeros(conv.out_channels, "int32"),
            )
        weight = weight.real()
    else:
        weight = array(weight)
    if weight is None or weight.dtype != np.float32:
        return None
    return Linear(
        low.name,
        low.layout(low.real(source), True),
        conv,
        to_oihw(weight),
        None,
        np.zeros(conv.out_channels, "float32"),
    )


def _add(low, call):
    first, second = (low.value(arg) for arg in call.args)
    for a, b in ((first, second), (second, first)):
        biased = _add_bias(a, b) if isinstance(a, Linear) else None
        if biased is not None:
            return biased
    if any(isinstance(v, relax.Expr | Weights | Quantizing | Joined) for v in (first, second)):
        return None
    if shape(call.args[0]) != shape(call.args[1]):
        return None
    if all(isinstance(v, Tensor) and v.quantized for v in (first, second)):
        return Sum(first, low.layout(second, first.nhwc))
    for a, b in ((second, first), (first, second)):
        joinable = isinstance(a, Linear | Average) and is_open(a) and isinstance(b, Tensor)
        if joinable and b.quantized == a.source.quantized:
            return replace(a, residual=low.layout(b, a.source.nhwc))
    if isinstance(second, Linear) and is_open(second) and not second.source.quantized:
        return replace(second, residual=low.layout(low.real(first), second.source.nhwc))
    return None


def _add_bias(linear, other):
    if linear.biased or not is_open(linear):
        return None
    if isinstance(other, Weights) and other.values.size == linear.conv.out_channels and linear.source.quantized:
        unit = linear.multiplier(1.0)
        matches = np.array_equal(np.broadcast_to(other.scales, unit.shape), unit)
        return replace(linear, bias=other.values.reshape(-1).astype("int32"), biased=True) if matches else None
    constant = other.real() if isinstance(other, Weights) else array(other) if isinstance(other, relax.Expr) else None
    if constant is None or linear.source.quantized or constant.size != linear.conv.out_channels:
        return None
    channel_axis = constant.ndim - (3 if len(linear.source.shape) == 4 else 1)
    if constant.ndim and constant.shape[channel_axis] != linear.conv.out_channels:
        return None
    return replace(linear, bias=constant.reshape(-1).astype("float32"), biased=True)


def _multiply(low, call):
    factors = [low.value(arg) for arg in call.args]
    if not all(isinstance(factor, Tensor) and factor.quantized for factor in factors):
        return None
    order = product_order(*map(shape, call.args))
    if order is None:
        return None
    first, second = (factors[i] for i in order)
    if first.shape != second.shape:
        first = low.layout(first, True)
    return Product(first, low.layout(second, first.nhwc))


def _mean(low, call):
    axes = sorted(int(axis) % len(shape(call.args[0])) for axis in call.attrs.axis or [])
    source = low.tensor(call.args[0])
    if source is None or len(source.shape) != 4 or axes != [2, 3]:
        return None
    source = low.layout(source, True)
    n, h, w, c = source.shape
    pool = Pool2D(n, h, w, c, (h, w), (1, 1), (0, 0, 0, 0), 1, 1)
    return Average(source, pool, np.full((1, 1), h * w, "float64"), flat=not call.attrs.keepdims)


def _avg_pool2d(low, call):
    found = _pool(low, call)
    if found is None:
        return None
    source, pool = found
    counts = np.outer(*(_window_sizes(call.attrs, pool, axis) for axis in (0, 1))).astype("float64")
    return Average(source, pool, counts)


def _max_pool2d(low, call):
    found = _pool(low, call)
    return found and replace(found[0], expr=low.kernels.maximum(*found))


def _pool(low, call):
    attrs, source = call.attrs, low.tensor(call.args[0])
    if source is None or attrs.layout != "NCHW":
        return None
    source = low.layout(source, True)
    kernel, strides, padding, dilation = map(_ints, (attrs.pool_size, attrs.strides, attrs.padding, attrs.dilation))
    n, h, w, c = source.shape
    return source, Pool2D(n, h, w, c, kernel, strides, padding, *shape(call)[2:], dilation)


def _window_sizes(attrs, pool, axis):
    """The number that each window's sum along one axis is divided by."""
    extent, out = (pool.height, pool.out_height) if axis == 0 else (pool.width, pool.out_width)
    before, after = (pool.padding[axis], pool.padding[axis + 2]) if attrs.count_include_pad else (0, 0)
    first = np.arange(out)[:, None] * pool.strides[axis] - pool.padding[axis]
    elements = first + np.arange(pool.kernel[axis]) * pool.dilation[axis]
    return ((elements >= -before) & (elements < extent + after)).sum(1)


def _concat(low, call):
    parts = [low.value(field) for field in low.fields(call.args[0]) or [call.args[0]]]
    if any(isinstance(part, relax.Expr | Weights | Quantizing) for part in parts):
        return None
    axis = int(call.attrs.axis) % call.ty.ndim
    alike = all(isinstance(part, Tensor) for part in parts) and len({part.scale for part in parts}) == 1
    return low.emit.join(parts, axis) if alike else Joined(tuple(parts), axis)


def _reshape(low, call):
    source, target = low.tensor(call.args[0]), shape(call)
    if source is None:
        return None
    if not source.nhwc or source.shape[1:3] == (1, 1):
        expr = low.kernels.reshape(source.expr, _nhwc_target(target) if source.nhwc and len(target) == 4 else target)
        return replace(source, expr=expr, nhwc=source.nhwc and len(target) == 4)
    source = low.layout(source, False)
    return replace(source, expr=low.kernels.reshape(source.expr, target))


def _nhwc_target(target):
    return tuple(target[axis] for axis in NHWC_OF_NCHW)


def _permute_dims(low, call):
    source = low.tensor(call.args[0])
    if source is None or call.attrs.axes is None:
        return None
    axes = [int(axis) for axis in call.attrs.axes]
    if source.nhwc:
        axes = [NHWC_OF_NCHW.index(axis) for axis in axes]
    if axes == sorted(axes):
        return replace(source, nhwc=False)
    return replace(source, expr=low.builder.emit(relax.op.permute_dims(source.expr, axes)), nhwc=False)


def _strided_slice(low, call):
    source = low.tensor(call.args[0])
    if source is None:
        return None
    axes, begin, end, strides = ([int(v.value) for v in arg.fields] for arg in call.args[1:5])
    if source.nhwc:
        axes = [NHWC_OF_NCHW.index(axis % 4) for axis in axes]
    expr = relax.op.strided_slice(source.expr, axes, begin, end, strides, assume_inbound=False)
    return replace(source, expr=low.builder.emit(expr))


def _pad(low, call):
    source = low.tensor(call.args[0])
    value = float(call.args[1].value) if len(call.args) > 1 else 0.0
    if source is None or str(call.attrs.pad_mode) != "constant" or value != 0.0:
        return None
    width = [int(v) for v in call.attrs.pad_width]
    if source.nhwc:
        width = [width[2 * axis + side] for axis in NHWC_OF_NCHW for side in (0, 1)]
    padded = relax.op.nn.pad(source.expr, width)
    return replace(source, expr=low.builder.emit(padded), low=min(source.low, 0), high=max(source.high, 0))


def _resize2d(low, call):
    source = low.tensor(call.args[0])
    if source is None or not source.quantized or not is_exact(call):
        return None
    source = low.layout(source, True)
    linear = is_bilinear(call)
    return replace(source, expr=low.kernels.resize(source, *(weights(call) if linear else sources(call))))


def _ints(values):
    return tuple(int(value) for value in values)


RULES = dict.fromkeys(FUNCTIONS, pointwise) | {
    "relax.quantize": _quantize,
    "relax.dequantize": _dequantize,
    "relax.clip": _clip,
    "relax.nn.relu": _relu,
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
    "relax.multiply": lambda low, call: pointwise(low, call) or _multiply(low, call),
    "relax.add": lambda low, call: _add(low, call) or pointwise(low, call),
    "relax.mean": _mean,
    "relax.nn.avg_pool2d": _avg_pool2d,
    "relax.nn.max_pool2d": _max_pool2d,
    "relax.concat": _concat,
    "relax.reshape": _reshape,
    "relax.permute_dims": _permute_dims,
    "relax.strided_slice": _strided_slice,
    "relax.nn.pad": _pad,
    "relax.image.resize2d": _resize2d,
}
