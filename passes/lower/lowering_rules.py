"""What each operator of an annotated module lowers to: one rule for each, or None where it stays a float operator.

A rule gets the lowering in progress (`lowering`) and the call, and returns a value (`lowered_values`).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax

from ..graph.pointwise import FUNCTIONS
from ..graph.resizing import is_bilinear, is_exact, sources, weights
from ..graph.rewrite import array, shape
from .lower_layers import add, conv2d, matmul, multiply
from .lower_pointwise import pointwise
from .lower_pooling import avg_pool2d, max_pool2d, mean
from .lowered_values import NHWC_OF_NCHW, Activation, Joined, Quantizing, Tensor, Value, Weights, clipped
from .lowering import NCHW_OF_NHWC, Lowering

Rule = Callable[[Lowering, relax.Call], Value | None]


def _quantize(low: Lowering, call: relax.Call) -> Quantizing | None:
    value, scale, zero = low.value(call.args[0]), array(call.args[1]), array(call.args[2])
    if not isinstance(value, Activation) or scale is None or zero is None or scale.size != 1 or zero.any():
        return None
    info = np.iinfo(str(call.attrs.out_dtype))
    if info.bits > 8:  # not ours, but the model's own
        return None
    return Quantizing(value, np.float32(scale.reshape(())), int(info.min), int(info.max))


def _dequantize(low: Lowering, call: relax.Call) -> Weights | Tensor | None:
    x, scales, zero = call.args[0], array(call.args[1]), array(call.args[2])
    if scales is None or zero is None or zero.any() or str(call.attrs.out_dtype) != "float32":
        return None
    constant = array(x)
    if constant is not None:
        return Weights(constant, scales.reshape(-1).astype("float32"), int(call.attrs.axis) % max(constant.ndim, 1))
    value = low.value(x)
    if not isinstance(value, Quantizing) or np.float32(scales.reshape(-1)[0]) != value.scale or scales.size != 1:
        return None
    return low.quantized(value.value, value.scale, value.low, value.high)


def _clip(low: Lowering, call: relax.Call) -> Value | None:
    value = low.value(call.args[0])
    least, greatest = (float(arg.value) for arg in call.args[1:])
    if isinstance(value, Quantizing):
        return replace(value, low=max(value.low, int(least)), high=min(value.high, int(greatest)))
    return clipped(value, least, greatest) if isinstance(value, Activation) else None


def _relu(low: Lowering, call: relax.Call) -> Activation | None:
    value = low.value(call.args[0])
    return clipped(value, 0.0, np.inf) if isinstance(value, Activation) else None


def _concat(low: Lowering, call: relax.Call) -> Tensor | Joined | None:
    values = [low.value(field) for field in low.fields(call.args[0]) or [call.args[0]]]
    parts = tuple(value for value in values if isinstance(value, Activation))
    if len(parts) < len(values):
        return None
    axis = int(call.attrs.axis) % call.ty.ndim
    tensors = [part for part in parts if isinstance(part, Tensor)]
    alike = len(tensors) == len(parts) and len({tensor.scale for tensor in tensors}) == 1
    return low.emit.join(tensors, axis) if alike else Joined(parts, axis)


def _reshape(low: Lowering, call: relax.Call) -> Tensor | None:
    source, target = low.tensor(call.args[0]), shape(call)
    if source is None:
        return None
    if not source.nhwc or source.shape[1:3] == (1, 1):
        nhwc = source.nhwc and target[2:] == (1, 1)
        stored = tuple(target[axis] for axis in NHWC_OF_NCHW) if nhwc else target
        return replace(source, expr=low.kernels.reshape(source.expr, stored), nhwc=nhwc)
    source = low.layout(source, False)
    return replace(source, expr=low.kernels.reshape(source.expr, target))


def _permute_dims(low: Lowering, call: relax.Call) -> Tensor | None:
    source = low.tensor(call.args[0])
    if source is None or call.attrs.axes is None:
        return None
    axes = [int(axis) % len(source.shape) for axis in call.attrs.axes]
    if axes == list(NCHW_OF_NHWC) and (stored := low.stored_plainly(source)) is not None:
        return replace(stored, nhwc=True)
    if source.nhwc:
        axes = [NHWC_OF_NCHW.index(axis) for axis in axes]
    if axes == sorted(axes):
        return replace(source, nhwc=False)
    return replace(source, expr=low.builder.emit(relax.op.permute_dims(source.expr, axes)), nhwc=False)


def _strided_slice(low: Lowering, call: relax.Call) -> Tensor | None:
    source = low.tensor(call.args[0])
    if source is None:
        return None
    axes, begin, end, *given = ([int(v.value) for v in arg.fields] for arg in call.args[1:5])
    strides = given[0] if given else [1] * len(axes)
    if source.nhwc:
        axes = [NHWC_OF_NCHW.index(axis % 4) for axis in axes]
    expr = relax.op.strided_slice(source.expr, axes, begin, end, strides, assume_inbound=False)
    return replace(source, expr=low.builder.emit(expr))


def _pad(low: Lowering, call: relax.Call) -> Tensor | None:
    source = low.tensor(call.args[0])
    if source is None or str(call.attrs.pad_mode) != "constant" or float(call.attrs.pad_value) != 0.0:
        return None
    width = [int(v) for v in call.attrs.pad_width]
    if source.nhwc:
        width = [width[2 * axis + side] for axis in NHWC_OF_NCHW for side in (0, 1)]
    padded = relax.op.nn.pad(source.expr, width)
    return replace(source, expr=low.builder.emit(padded), low=min(source.low, 0), high=max(source.high, 0))


def _resize2d(low: Lowering, call: relax.Call) -> Tensor | None:
    source = low.tensor(call.args[0])
    if source is None or not source.quantized or not is_exact(call):
        return None
    source = low.layout(source, True)
    linear = is_bilinear(call)
    return replace(source, expr=low.kernels.resize(source, *(weights(call) if linear else sources(call))))


RULES: dict[str | None, Rule] = {
    **dict.fromkeys(FUNCTIONS, pointwise),
    "relax.quantize": _quantize,
    "relax.dequantize": _dequantize,
    "relax.clip": _clip,
    "relax.nn.relu": _relu,
    "relax.nn.conv2d": conv2d,
    "relax.matmul": matmul,
    "relax.multiply": lambda low, call: pointwise(low, call) or multiply(low, call),
    "relax.add": lambda low, call: add(low, call) or pointwise(low, call),
    "relax.mean": mean,
    "relax.nn.avg_pool2d": avg_pool2d,
    "relax.nn.max_pool2d": max_pool2d,
    "relax.concat": _concat,
    "relax.reshape": _reshape,
    "relax.permute_dims": _permute_dims,
    "relax.strided_slice": _strided_slice,
    "relax.nn.pad": _pad,
    "relax.image.resize2d": _resize2d,
}
