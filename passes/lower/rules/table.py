"""The rule of each operator, by its name."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax

from ...graph.pointwise import FUNCTIONS
from ...graph.rewrite import array
from ..lowered_values import MOST, Activation, Quantizing, Tensor, Value, Weights, clipped
from ..lowering import Lowering
from ..rearranged import Rearranged
from . import moves
from .layers import add, conv2d, matmul, multiply, offset
from .pointwise import pointwise, prelu
from .pooling import avg_pool2d, max_pool2d, mean
from .rows import of_rows

Rule = Callable[[Lowering, relax.Call], Value | Rearranged | None]


def _quantize(low: Lowering, call: relax.Call) -> Quantizing | None:
    value, scale, zero = low.value(call.args[0]), array(call.args[1]), array(call.args[2])
    if not isinstance(value, Activation) or scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    dtype, zero_point = str(call.attrs.out_dtype), int(zero.reshape(()))
    info = np.iinfo(dtype)
    if info.bits > 8 and (dtype != "int16" or zero_point):  # not ours, but the model's own
        return None
    low_end, high_end = int(info.min) - zero_point, int(info.max) - zero_point
    return Quantizing(value, np.float32(scale.reshape(())), low_end, high_end, dtype, zero_point)


def _dequantize(low: Lowering, call: relax.Call) -> Weights | Tensor | Rearranged | None:
    x, scales, zero = call.args[0], array(call.args[1]), array(call.args[2])
    if scales is None or zero is None or str(call.attrs.out_dtype) != "float32":
        return None
    constant = array(x)
    if constant is not None and zero.any():
        return None
    if constant is not None:
        return Weights(constant, scales.reshape(-1).astype("float32"), int(call.attrs.axis) % max(constant.ndim, 1))
    value = low.value(x)
    if scales.size != 1 or zero.size != 1:
        return None
    if isinstance(value, Tensor) and not value.quantized and value.dtype in ("int8", "uint8"):
        return low.stored(value, np.float32(scales.reshape(())), int(zero.reshape(())))
    if not isinstance(value, Quantizing):
        return None
    if (np.float32(scales.reshape(())), int(zero.reshape(()))) != (value.scale, value.zero_point):
        return None
    if value.high - value.low >= MOST:
        return None
    return low.quantized_view(value.value, value.scale, value.low, value.high)


def _astype(low: Lowering, call: relax.Call) -> Tensor | None:
    """A cast of a quantized value to float32 is where it leaves the integers."""
    if {str(call.attrs.dtype), str(call.args[0].ty.dtype)} != {"float32"}:
        return None
    value = low.value(call.args[0])
    return low.real(value) if isinstance(value, Activation) else None


def _clip(low: Lowering, call: relax.Call) -> Value | None:
    value = low.value(call.args[0])
    least, greatest = (float(arg.value) for arg in call.args[1:])
    if isinstance(value, Quantizing):
        bounds = int(least) - value.zero_point, int(greatest) - value.zero_point
        return replace(value, low=max(value.low, bounds[0]), high=min(value.high, bounds[1]))
    return clipped(value, least, greatest) if isinstance(value, Activation) else None


def _relu(low: Lowering, call: relax.Call) -> Activation | None:
    value = low.value(call.args[0])
    return clipped(value, 0.0, np.inf) if isinstance(value, Activation) else None


RULES: dict[str | None, Rule] = {
    **dict.fromkeys(FUNCTIONS, pointwise),
    "relax.quantize": _quantize,
    "relax.dequantize": _dequantize,
    "relax.astype": _astype,
    "relax.clip": _clip,
    "relax.nn.relu": _relu,
    "relax.nn.conv2d": conv2d,
    "relax.matmul": matmul,
    "relax.nn.prelu": lambda low, call: pointwise(low, call) or prelu(low, call),
    "relax.multiply": lambda low, call: pointwise(low, call) or multiply(low, call),
    "relax.add": lambda low, call: add(low, call) or pointwise(low, call) or offset(low, call),
    "relax.nn.softmax": of_rows,
    "relax.nn.layer_norm": of_rows,
    "relax.nn.rms_norm": of_rows,
    "relax.mean": mean,
    "relax.nn.avg_pool2d": avg_pool2d,
    "relax.nn.max_pool2d": max_pool2d,
    "relax.concat": moves.concat,
    "relax.reshape": moves.reshape,
    "relax.permute_dims": moves.permute_dims,
    "relax.strided_slice": moves.strided_slice,
    "relax.nn.pad": moves.pad,
    "relax.image.resize2d": moves.resize2d,
}
