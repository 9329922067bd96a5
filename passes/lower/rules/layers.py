"""The lowering rules of convolutions, dense layers, and additions and products of activations: all stay pending."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax

from eq_tvm.schedules.convolution.conv2d import Conv2D

from ...graph.network import is_offset, product_order
from ...graph.rewrite import array, ints, shape
from ..lowered_values import (
    NHWC_OF_NCHW,
    Accumulated,
    Activation,
    Joined,
    Linear,
    MatrixProduct,
    Offset,
    Product,
    Sum,
    Tensor,
    Value,
    Weights,
    is_open,
)
from ..lowering import Lowering
from .matrices import matrix_product

FEW_ROWS = 4  # of a matrix: with fewer, packing the other one takes as long as the product


def conv2d(low: Lowering, call: relax.Call) -> Linear | None:
    """`nn.conv2d` of NCHW activations and OIHW weights. See `rules`."""
    attrs = call.attrs
    if (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) != ("NCHW", "OIHW", "NCHW"):
        return None
    batch, channels, height, width = shape(call.args[0])
    out_channels, _, kh, kw = shape(call.args[1])
    (sh, sw), (dh, dw), (top, left, bottom, right) = map(ints, (attrs.strides, attrs.dilation, attrs.padding))
    size, padding = (batch, height, width, channels, out_channels), (top, left, bottom, right)
    return _linear(low, call, Conv2D(*size, (kh, kw), (sh, sw), padding, (dh, dw), int(attrs.groups)), lambda w: w, 0)


def matmul(low: Lowering, call: relax.Call) -> Linear | MatrixProduct | Tensor | None:
    """`matmul` of (rows, K) activations and (K, N) weights, or of as many pairs of matrices."""
    left, right = (shape(arg) for arg in call.args)
    if array(call.args[1]) is None and not isinstance(low.value(call.args[1]), Weights):
        return matrix_product(low, call) or _product_of_floats(low, call)
    if len(left) != 2 or len(right) != 2:
        return None
    conv = Conv2D(1, 1, left[0], right[0], right[1])
    return _linear(low, call, conv, lambda w: np.ascontiguousarray(w.T)[..., None, None], 1)


def add(low: Lowering, call: relax.Call) -> Value | None:
    """A bias, a residual, or the sum of two quantized tensors."""
    first, second = (low.value(arg) for arg in call.args)
    for layer, bias in ((first, second), (second, first)):
        biased = _with_bias(layer, bias) if isinstance(layer, Linear) else None
        if biased is not None:
            return biased
    if not isinstance(first, Activation) or not isinstance(second, Activation):
        return None
    if isinstance(first, Joined) or isinstance(second, Joined) or shape(call.args[0]) != shape(call.args[1]):
        return None
    if isinstance(first, Tensor) and first.quantized and isinstance(second, Tensor) and second.quantized:
        return Sum(first, low.layout(second, first.nhwc))
    return _with_residual(low, first, second)


def offset(low: Lowering, call: relax.Call) -> Offset | None:
    """The addition of a constant tensor to a quantized one."""
    if not is_offset(call):
        return None
    data, constant = call.args if array(call.args[0]) is None else reversed(call.args)
    source, values = low.tensor(data), array(constant)
    if source is None or not source.quantized or values is None:
        return None
    values = values.reshape((1,) * (len(source.shape) - values.ndim) + values.shape)
    if source.nhwc:
        values = np.ascontiguousarray(values.transpose(NHWC_OF_NCHW))
    return Offset(call, source, values)


def multiply(low: Lowering, call: relax.Call) -> Product | None:
    """The product of two quantized tensors, of one shape or with a factor for each channel."""
    factors = [value for arg in call.args if isinstance(value := low.value(arg), Tensor) and value.quantized]
    order = product_order(*map(shape, call.args)) if len(factors) == 2 else None
    if order is None:
        return None
    first, second = (factors[i] for i in order)
    if first.shape != second.shape:
        first = low.layout(first, True)
    return Product(first, low.layout(second, first.nhwc))


def _linear(
    low: Lowering, call: relax.Call, conv: Conv2D, to_oihw: Callable[[np.ndarray], np.ndarray], channel_axis: int
) -> Linear | None:
    """A layer on integers where source and weights are such, else on floats; `channel_axis` is the weights' for O."""
    source, weight = low.tensor(call.args[0]), low.value(call.args[1])
    if source is None:
        return None
    if any(conv.padding):  # kernels are proven for what they read
        source = replace(source, low=min(source.low, 0), high=max(source.high, 0))
    channels = conv.out_channels
    by_channel = isinstance(weight, Weights) and (weight.axis == channel_axis or weight.scales.size == 1)
    if isinstance(weight, Weights) and by_channel and source.quantized and weight.values.dtype == np.int8:
        scales, bias = np.broadcast_to(weight.scales, channels).copy(), np.zeros(channels, "int32")
        return Linear(low.name, low.layout(source, True), conv, to_oihw(weight.values), scales, bias)
    values = _constant(weight)
    if values is None or values.dtype != np.float32:
        return None
    scales, bias = np.ones(channels, "float32"), np.zeros(channels, "float32")
    return Linear(low.name, low.layout(low.real(source), True), conv, to_oihw(values), scales, bias)


def _product_of_floats(low: Lowering, call: relax.Call) -> Tensor | None:
    """Of matrices with a kernel of their own: neither are they broadcast, nor is there little to multiply."""
    factors = [value for arg in call.args if isinstance(value := low.value(arg), Activation)]
    left, right = (shape(arg) for arg in call.args)
    if len(factors) < 2 or min(len(left), len(right)) < 2 or left[-2] < FEW_ROWS or left[:-2] != right[:-2]:
        return None
    first, second = (low.plain(factor) for factor in factors)
    if first.dtype != "float32" or second.dtype != "float32":
        return None
    return Tensor(low.kernels.matmul(first.expr, second.expr))


def _with_bias(linear: Linear, other: Value) -> Linear | None:
    values = other.values if isinstance(other, Weights) else array(other)
    if linear.biased or not is_open(linear) or values is None or not _is_per_channel(linear, values):
        return None
    if isinstance(other, Weights) and linear.source.quantized:
        unit = linear.multiplier(1.0)
        matches = np.array_equal(np.broadcast_to(other.scales, unit.shape), unit)
        return replace(linear, bias=other.values.reshape(-1).astype("int32"), biased=True) if matches else None
    constant = _constant(other)
    if constant is None or linear.source.quantized:
        return None
    return replace(linear, bias=constant.reshape(-1).astype("float32"), biased=True)


def _is_per_channel(linear: Linear, values: np.ndarray) -> bool:
    """Whether there is one for each output channel, along the axis of channels, and the sum has no more axes."""
    channels, rank = linear.conv.out_channels, len(linear.source.shape)
    axis = values.ndim - (3 if rank == 4 else 1)
    if values.size != channels or values.ndim > rank:
        return False
    return values.ndim == 0 or (axis >= 0 and values.shape[axis] == channels)


def _with_residual(low: Lowering, first: Activation, second: Activation) -> Accumulated | None:
    """The later layer or pooling with the other tensor added, if that is of its kind."""
    for layer, residual in ((second, first), (first, second)):
        if not (isinstance(layer, Accumulated) and is_open(layer) and isinstance(residual, Tensor)):
            continue
        if residual.quantized == layer.source.quantized:
            return replace(layer, residual=low.layout(residual, layer.source.nhwc))
    if isinstance(second, Linear) and is_open(second) and not second.source.quantized:
        return replace(second, residual=low.layout(low.real(first), second.source.nhwc))
    return None


def _constant(value: Value) -> np.ndarray | None:
    """The real values of weights; None for everything else."""
    return value.real() if isinstance(value, Weights) else array(value)
