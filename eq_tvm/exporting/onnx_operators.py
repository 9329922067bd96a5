"""ONNX nodes for the operators of Relax that canonical modules consist of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tvm import relax


@dataclass
class Written:
    """What a call becomes: an operator, further operands, and attributes.

    Attributes
    ----------
    kind : str
    constants : sequence of numpy.ndarray
        Behind the call's own operands.
    attributes : dict
    operands : sequence of int, optional
        Which of the call's own, by default all; a tuple's fields count as operands.
    """

    kind: str
    constants: Sequence[np.ndarray]
    attributes: dict[str, Any]
    operands: Sequence[int] | None = None


Rule = Callable[["relax.Call"], Written | None]


def written(call: relax.Call) -> Written | None:
    """What becomes of a call; None where nothing does."""
    from eq_tvm.passes.graph.rewrite import operator_name

    rule = _RULES.get(operator_name(call) or "")
    return None if rule is None else rule(call)


def _plain(kind: str, **attributes: Any) -> Rule:
    return lambda _: Written(kind, [], attributes)


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _int64(values: Any) -> np.ndarray:
    return np.array(_ints(values), np.int64)


def _shape(expr: relax.Expr) -> list[int]:
    return _ints(expr.ty.shape)


def _axes(call: relax.Call, axes: Any) -> list[int]:
    rank = len(_shape(call.args[0]))
    return sorted(int(axis) % rank for axis in (range(rank) if axes is None else axes))


def _conv(call: relax.Call) -> Written | None:
    a = call.attrs
    if (a.data_layout, a.kernel_layout) != ("NCHW", "OIHW"):
        return None
    attributes = {"strides": _ints(a.strides), "pads": _ints(a.padding), "dilations": _ints(a.dilation)}
    return Written("Conv", [], {**attributes, "group": int(a.groups)})


def _pool(kind: str) -> Rule:
    def rule(call: relax.Call) -> Written | None:
        a = call.attrs
        if a.layout not in ("NCHW", "NCDHW"):
            return None
        attributes = {
            "kernel_shape": _ints(a.pool_size),
            "strides": _ints(a.strides),
            "pads": _ints(a.padding),
            "ceil_mode": int(a.ceil_mode),
        }
        if max(_ints(a.dilation)) > 1:  # ONNX Runtime refuses to be told that there is none
            attributes["dilations"] = _ints(a.dilation)
        if kind == "AveragePool":
            attributes["count_include_pad"] = int(a.count_include_pad)
        return Written(kind, [], attributes)

    return rule


def _reduce(kind: str) -> Rule:
    def rule(call: relax.Call) -> Written:
        axes = _axes(call, call.attrs.axis)
        if kind == "ReduceMean" and axes == [2, 3] and len(_shape(call.args[0])) == 4 and call.attrs.keepdims:
            return Written("GlobalAveragePool", [], {})
        return Written(kind, [np.array(axes, np.int64)], {"keepdims": int(call.attrs.keepdims)})

    return rule


def _arg(kind: str) -> Rule:
    def rule(call: relax.Call) -> Written | None:
        if call.attrs.axis is None or str(call.ty.dtype) != "int64":
            return None
        return Written(kind, [], {"axis": int(call.attrs.axis), "keepdims": int(call.attrs.keepdims)})

    return rule


def _reshape(call: relax.Call) -> Written:
    return Written("Reshape", [np.array(_shape(call), np.int64)], {}, [0])


def _transpose(call: relax.Call) -> Written:
    from eq_tvm.passes.graph.rewrite import transposed_axes

    return Written("Transpose", [], {"perm": list(transposed_axes(call))})


def _slice(call: relax.Call) -> Written:
    axes, begin, end, *strides = ([int(value.value) for value in arg.fields] for arg in call.args[1:])
    steps = strides[0] if strides else [1] * len(axes)
    return Written("Slice", [np.array(values, np.int64) for values in (begin, end, axes, steps)], {}, [0])


def _pad(call: relax.Call) -> Written | None:
    if str(call.attrs.pad_mode) != "constant":
        return None
    widths = _ints(call.attrs.pad_width)
    return Written(
        "Pad", [_int64(widths[::2] + widths[1::2]), np.array(call.attrs.pad_value, np.float32)], {"mode": "constant"}
    )


_COORDINATES = {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"}
_ROUNDING = {
    "floor": "floor",
    "ceil": "ceil",
    "round": "round_prefer_floor",
    "round_prefer_floor": "round_prefer_floor",
    "round_prefer_ceil": "round_prefer_ceil",
}


def _resize(call: relax.Call) -> Written | None:
    a = call.attrs
    mode = {"nearest_neighbor": "nearest", "linear": "linear"}.get(str(a.method))
    coordinates, rounding = str(a.coordinate_transformation_mode), str(a.rounding_method)
    if mode is None or coordinates not in _COORDINATES or a.layout != "NCHW":
        return None
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attributes["nearest_mode"] = _ROUNDING.get(rounding, "floor")
    nothing = np.zeros(0, np.float32)
    return Written("Resize", [nothing, nothing, np.array(_shape(call), np.int64)], attributes, [0])


def _clip(call: relax.Call) -> Written:
    dtype = str(call.args[0].ty.dtype)
    return Written("Clip", [np.array(float(arg.value)).astype(dtype) for arg in call.args[1:]], {}, [0])


def _concat(call: relax.Call) -> Written:
    return Written("Concat", [], {"axis": int(call.attrs.axis)})


def _prelu(call: relax.Call) -> Written:
    rank, axis = len(_shape(call.args[0])), int(call.attrs.axis)
    from eq_tvm.passes.graph.rewrite import array

    slopes = array(call.args[1])
    along = [-1 if i == axis % rank else 1 for i in range(1, rank)]
    return Written("PRelu", [np.asarray(slopes).reshape(along)], {}, [0])


def _cast(call: relax.Call) -> Written:
    import onnx

    return Written("Cast", [], {"to": onnx.helper.np_dtype_to_tensor_dtype(np.dtype(str(call.ty.dtype)))})


def _softmax(kind: str) -> Rule:
    return lambda call: Written(kind, [], {"axis": int(call.attrs.axis)})


def _take(call: relax.Call) -> Written | None:
    return None if call.attrs.axis is None else Written("Gather", [], {"axis": int(call.attrs.axis)})


def _layer_norm(call: relax.Call) -> Written | None:
    rank, axes = len(_shape(call.args[0])), _axes(call, call.attrs.axes)
    if axes != list(range(axes[0], rank)):
        return None
    return Written("LayerNormalization", [], {"axis": axes[0], "epsilon": float(call.attrs.epsilon)})


def _pair(kind: str) -> Rule:
    """Of activations: nearly always of one scale."""

    def rule(call: relax.Call) -> Written:
        several = int(np.prod(_shape(call.args[1]))) > 1
        return Written(kind, [], {"axis": int(call.attrs.axis)} if several else {})

    return rule


_PLAIN = {
    "abs": "Abs",
    "add": "Add",
    "divide": "Div",
    "equal": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ceil": "Ceil",
    "cos": "Cos",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "log": "Log",
    "logical_and": "And",
    "logical_not": "Not",
    "logical_or": "Or",
    "matmul": "MatMul",
    "maximum": "Max",
    "minimum": "Min",
    "multiply": "Mul",
    "negative": "Neg",
    "nn.relu": "Relu",
    "nn.softplus": "Softplus",
    "power": "Pow",
    "round": "Round",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "subtract": "Sub",
    "tanh": "Tanh",
    "where": "Where",
}
_RULES: dict[str, Rule] = {
    **{f"relax.{name}": _plain(kind) for name, kind in _PLAIN.items()},
    "relax.nn.gelu": _plain("Gelu"),
    "relax.nn.gelu_tanh": _plain("Gelu", approximate="tanh"),
    "relax.argmax": _arg("ArgMax"),
    "relax.argmin": _arg("ArgMin"),
    "relax.astype": _cast,
    "relax.broadcast_to": lambda call: Written("Expand", [np.array(_shape(call), np.int64)], {}, [0]),
    "relax.clip": _clip,
    "relax.concat": _concat,
    "relax.dequantize": _pair("DequantizeLinear"),
    "relax.expand_dims": _reshape,
    "relax.flatten": _reshape,
    "relax.image.resize2d": _resize,
    "relax.max": _reduce("ReduceMax"),
    "relax.mean": _reduce("ReduceMean"),
    "relax.min": _reduce("ReduceMin"),
    "relax.nn.avg_pool2d": _pool("AveragePool"),
    "relax.nn.conv2d": _conv,
    "relax.nn.layer_norm": _layer_norm,
    "relax.nn.leakyrelu": lambda call: Written("LeakyRelu", [], {"alpha": float(call.attrs.alpha)}),
    "relax.nn.log_softmax": _softmax("LogSoftmax"),
    "relax.nn.max_pool2d": _pool("MaxPool"),
    "relax.nn.max_pool3d": _pool("MaxPool"),
    "relax.nn.pad": _pad,
    "relax.nn.prelu": _prelu,
    "relax.nn.softmax": _softmax("Softmax"),
    "relax.permute_dims": _transpose,
    "relax.quantize": _pair("QuantizeLinear"),
    "relax.reshape": _reshape,
    "relax.square": lambda _: Written("Mul", [], {}, [0, 0]),
    "relax.squeeze": _reshape,
    "relax.strided_slice": _slice,
    "relax.sum": _reduce("ReduceSum"),
    "relax.take": _take,
}
