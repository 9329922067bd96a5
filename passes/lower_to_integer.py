"""Annotated -> integer: quantized regions become calls to scheduled kernels on NHWC integers, float islands keep float."""

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from eq_tvm.schedules.direct_conv import Conv2D
from eq_tvm.schedules.pooling import Pool2D

from .kernels import Kernels
from .lowered_values import NHWC_OF_NCHW, Average, Joined, Linear, Quantizing, Sum, Tensor, Weights, is_open
from .materialize import Materializer, bound
from .rewrite import array, operator_name, shape

NCHW_OF_NHWC = (0, 3, 1, 2)

# Float operators that work element by element: they keep whatever layout their input has.
_ELEMENTWISE = {f"relax.{name}" for name in (
    "nn.relu", "clip", "sigmoid", "tanh", "exp", "sqrt", "nn.silu", "nn.gelu", "nn.leakyrelu", "abs", "negative",
    "add", "subtract", "multiply", "divide", "maximum", "minimum")}


@tvm.transform.module_pass(opt_level=0, name="LowerToInteger")
class LowerToInteger:
    """Lower convolutions, dense layers and everything between them to scheduled kernels.

    Works on an annotated module (integers wherever quantize/dequantize pairs say so) and on a canonical float module
    (float32 kernels). What it does not know stays the float operator that it was.

    Parameters
    ----------
    features : collection of str
        Multiply instructions of the CPU, as in ``targets.yaml``.
    """

    def __init__(self, features):
        self.features = features

    def transform_module(self, mod, _ctx):
        """Replace ``main``; kernels are added to the module."""
        main = mod["main"]
        others = {var: func for var, func in mod.functions_items() if var.name_hint != "main"}
        builder = relax.BlockBuilder(tvm.IRModule(others))
        with builder.function("main", main.params, attrs=dict(main.attrs or {})):
            with builder.dataflow():
                lowering = _Lowering(builder, self.features, main.params)
                for block in main.body.blocks:
                    for binding in block.bindings:
                        lowering.bind(binding.var, binding.value)
                result = builder.emit_output(lowering.result(main.body.body))
            builder.emit_func_output(result)
        return builder.finalize()


class _Lowering:
    def __init__(self, builder, features, params):
        self.builder = builder
        self.kernels = Kernels(builder, features)
        self.emit = Materializer(self.kernels, self.layout)
        self.values = {param: Tensor(param) for param in params}
        self.name = ""  # of the binding at hand
        self._quantized, self._real, self._layouts = {}, {}, {}

    def bind(self, var, value):
        """Lower one binding."""
        self.name = var.name
        if isinstance(value, relax.Tuple):
            self.values[var] = value
            return
        if isinstance(value, relax.TupleGetItem) and (fields := self.fields(value.tuple_value)):
            self.values[var] = self.value(fields[value.index])
            return
        handler = _HANDLERS.get(operator_name(value))
        lowered = handler(self, value) if handler else None
        self.values[var] = self.generic(value) if lowered is None else lowered

    def result(self, expr):
        """The module's result: float tensors with their original axes."""
        fields = self.fields(expr)
        if fields is not None:
            return relax.Tuple([self.result(field) for field in fields])
        return self.argument(expr, False)

    def value(self, expr):
        """What an argument stands for; constants and shapes stand for themselves."""
        return self.values[expr] if isinstance(expr, relax.Var) else expr

    def fields(self, expr):
        """The fields of a tuple, or None for everything else."""
        value = self.value(expr)
        return list(value.fields) if isinstance(value, relax.Tuple) else None

    def quantized(self, value, scale, low, high):
        """Emit `value` as integers, once."""
        key = (id(value), float(scale), low, high)
        if key not in self._quantized:
            self._quantized[key] = (value, self.emit.quantized(value, scale, low, high))
        return self._quantized[key][1]

    def real(self, value):
        """Emit `value` as a float tensor, once."""
        if id(value) not in self._real:
            self._real[id(value)] = (value, self._emit_real(value))
        return self._real[id(value)][1]

    def _emit_real(self, value):
        if isinstance(value, Joined):
            parts = [self.plain(part).expr for part in value.parts]
            return Tensor(self.builder.emit(relax.op.concat(parts, value.axis)))
        first, second = (value.first, value.second) if isinstance(value, Sum) else (None, None)
        if isinstance(value, Linear | Average) and value.residual is not None and value.source.quantized:
            first, second = replace(value, residual=None, bounds=(-np.inf, np.inf)), value.residual
        if first is None:
            return self.emit.real(value)
        # A sum that nobody quantizes: in float, as the annotated module says.
        first, second = self.real(first), self.layout(self.real(second), self.real(first).nhwc)
        total = self.builder.emit(relax.op.add(first.expr, second.expr))
        if np.isfinite(value.bounds).any():
            total = self.builder.emit(relax.op.clip(total, *(float(b) for b in value.bounds)))
        return Tensor(total, first.nhwc)

    def plain(self, value):
        """`value` as a float tensor with the annotated module's axes."""
        if isinstance(value, Tensor) and value.quantized and value.nhwc:
            key = (id(value), "plain")
            if key not in self._real:
                expr = self.kernels.dequantize(value, np.array([-np.inf, np.inf], "float32"), True)
                self._real[key] = (value, Tensor(expr))
            return self._real[key][1]
        return self.layout(self.real(value), False)

    def layout(self, tensor, nhwc):
        """`tensor` stored as NHWC or with the annotated module's axes."""
        if len(tensor.shape) != 4 or tensor.nhwc == nhwc:
            return tensor
        key = (id(tensor), nhwc)
        if key not in self._layouts:
            axes = NHWC_OF_NCHW if nhwc else NCHW_OF_NHWC
            expr = self.builder.emit(relax.op.permute_dims(tensor.expr, axes))
            self._layouts[key] = (tensor, replace(tensor, expr=expr, nhwc=nhwc))
        return self._layouts[key][1]

    def tensor(self, expr):
        """An argument as a tensor that exists, quantized or float; None for constants."""
        value = self.value(expr)
        if isinstance(value, Tensor):
            return value
        return None if isinstance(value, Weights | Quantizing | relax.Expr) else self.real(value)

    def generic(self, call):
        """An operator that is kept as it is, on float tensors."""
        if not isinstance(call, relax.Call):
            return self.emitted(relax.TupleGetItem(self.argument(call.tuple_value, False), call.index) if isinstance(
                call, relax.TupleGetItem) else self.argument(call, False), False)
        values = [self.value(arg) for arg in call.args]
        tensors = [self.real(v) for v in values if not isinstance(v, relax.Expr | Weights | Quantizing)]
        rest = [v for v in values if isinstance(v, relax.Expr | Weights | Quantizing)]
        nhwc = (operator_name(call) in _ELEMENTWISE and all(t.nhwc for t in tensors)
                and len({t.shape for t in tensors}) == 1 and all(map(_is_scalar, rest)))
        args = [self.argument(arg, nhwc) for arg in call.args]
        return self.emitted(relax.Call(call.op, args, call.attrs, call.ty_args), nhwc)

    def emitted(self, expr, nhwc):
        """A float expression as a value."""
        var = self.builder.emit(self.builder.normalize(expr))
        return Tensor(var, nhwc) if isinstance(var.ty, relax.TensorType) else var

    def argument(self, expr, nhwc):
        """A float operator's argument, as code."""
        value = self.value(expr)
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self.argument(field, nhwc) for field in value.fields])
        if isinstance(value, relax.Expr):
            return value
        if isinstance(value, Weights):
            return relax.const(value.real())
        if isinstance(value, Quantizing):
            return self.original(value)
        return (self.real(value) if nhwc else self.plain(value)).expr

    def original(self, value):
        """The integers between quantize and dequantize, for an operator that wants them as they are."""
        tensor = self.layout(self.quantized(value.value, value.scale, value.low, value.high), False)
        return self.builder.emit(relax.op.astype(tensor.expr, "uint8" if value.low >= 0 and value.high > 127 else "int8"))


def _is_scalar(value):
    return isinstance(value, relax.Expr) and not (
        isinstance(value, tvm.ir.GenericConst) and value.value.numpy().size > 1)


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
    strides, padding, dilation = ([int(v) for v in values] for values in (attrs.strides, attrs.padding, attrs.dilation))
    conv = Conv2D(batch, height, width, channels, out_channels, tuple(kernel), tuple(strides), tuple(padding),
                  tuple(dilation), int(attrs.groups))
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
            return Linear(low.name, low.layout(source, True), conv, to_oihw(weight.values), scales,
                          np.zeros(conv.out_channels, "int32"))
        weight = weight.real()
    else:
        weight = array(weight)
    if weight is None or weight.dtype != np.float32:
        return None
    return Linear(low.name, low.layout(low.real(source), True), conv, to_oihw(weight), None,
                  np.zeros(conv.out_channels, "float32"))


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
        if isinstance(a, Linear | Average) and is_open(a) and isinstance(b, Tensor) and b.quantized == a.source.quantized:
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
    if source is None or attrs.layout != "NCHW" or any(int(d) != 1 for d in attrs.dilation):
        return None
    source = low.layout(source, True)
    kernel, strides, padding = (tuple(int(v) for v in values) for values in (
        attrs.pool_size, attrs.strides, attrs.padding))
    n, h, w, c = source.shape
    return source, Pool2D(n, h, w, c, kernel, strides, padding, *shape_of_result(call)[2:])


def shape_of_result(call):
    """The static shape of a call's result."""
    return tuple(int(extent) for extent in call.ty.shape)


def _window_sizes(attrs, pool, axis):
    """The number that each window's sum along one axis is divided by."""
    extent, out = (pool.height, pool.out_height) if axis == 0 else (pool.width, pool.out_width)
    before, after = pool.padding[axis], pool.padding[axis + 2]
    first = np.arange(out) * pool.strides[axis] - before
    last = first + pool.kernel[axis]
    if attrs.count_include_pad:
        return np.minimum(last, extent + after) - np.maximum(first, -before)
    return np.minimum(last, extent) - np.maximum(first, 0)


def _concat(low, call):
    parts = [low.tensor(field) for field in low.fields(call.args[0]) or [call.args[0]]]
    if any(part is None for part in parts):
        return None
    axis = int(call.attrs.axis) % len(parts[0].shape)
    if all(part.quantized for part in parts) and len({float(part.scale) for part in parts}) > 1:
        return Joined(tuple(parts), axis)
    if len({part.quantized for part in parts}) > 1:
        return None
    parts = [low.layout(part, parts[0].nhwc) for part in parts]
    return low.emit.join(parts, axis)


def _reshape(low, call):
    source, target = low.tensor(call.args[0]), shape_of_result(call)
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


_HANDLERS = {
    "relax.quantize": _quantize,
    "relax.dequantize": _dequantize,
    "relax.clip": _clip,
    "relax.nn.relu": _relu,
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
    "relax.add": _add,
    "relax.mean": _mean,
    "relax.nn.avg_pool2d": _avg_pool2d,
    "relax.nn.max_pool2d": _max_pool2d,
    "relax.concat": _concat,
    "relax.reshape": _reshape,
    "relax.permute_dims": _permute_dims,
    "relax.strided_slice": _strided_slice,
    "relax.nn.pad": _pad,
}
