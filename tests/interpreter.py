"""The integer program (docs/integer-program.md) of an annotated Relax module, evaluated in plain numpy.

Independent of passes and schedules: compiled modules are tested for equality with it.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import tvm
from integer_functions import BINARY, UNARY, leaky
from integer_ops import avg_pool_acc, conv2d_acc, correlate, dense_acc, int32, max_pool, resize
from integer_values import (
    Acc,
    Bounded,
    Concat,
    Const,
    Integers,
    Mapped,
    Normalized,
    Offset,
    Product,
    Raw,
    Rectified,
    Softmax,
    Sum,
    leave,
    mapped,
)
from tvm import relax

F32, F64 = np.float32, np.float64


def run_annotated(mod: tvm.IRModule, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of function `main` of an annotated module, given its inputs by parameter name."""
    function = mod["main"]
    values = {param: feeds[param.name] for param in function.params}

    def evaluate(expr):
        if isinstance(expr, relax.Call):
            return _call(mod, expr, [evaluate(arg) for arg in expr.args])
        if isinstance(expr, relax.Tuple):
            return [evaluate(field) for field in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            return evaluate(expr.tuple_value)[expr.index]
        if isinstance(expr, tvm.ir.GenericConst):
            return expr.value.numpy()
        return values[expr] if isinstance(expr, relax.Var) else expr  # the operator reads shapes and numbers itself

    for block in function.body.blocks:
        for binding in block.bindings:
            values[binding.var] = evaluate(binding.value)
    result = evaluate(function.body.body)
    return [leave(value) for value in (result if isinstance(result, list) else [result])]


def _call(mod: tvm.IRModule, call: relax.Call, args: list):
    name = getattr(call.op, "name", "")
    result = INTEGER[name](call, *args) if name in INTEGER else ROWS[name](mod, call, *args) if name in ROWS else None
    if result is None and name in MOVES:
        move = functools.partial(MOVES[name], call)
        result = replace(args[0], q=move(args[0].q)) if isinstance(args[0], Raw) else move(leave(args[0]))
    return _float_operator(mod, call, args) if result is None else result


def _quantize(call, x, scale, zero_point):
    assert zero_point.size == scale.size == 1, "activations have one scale and zero point"
    limits, zero = np.iinfo(call.attrs.out_dtype), int(zero_point.reshape(-1)[0])
    low, high = limits.min - zero, limits.max - zero  # a narrower range is the clip behind it
    return Integers(x, scale.reshape(-1)[0], low, high, call.attrs.out_dtype, zero)


def _dequantize(call, x, scale, zero_point):
    if isinstance(x, Integers):
        assert zero_point == x.zero_point, "a pair has one zero point"
        raw = Raw(x.q, scale.reshape(-1)[0], x.lo, x.hi)
        return raw if x.hi - x.lo < 4096 else raw.leave()
    assert not zero_point.any(), "the zero point of constants is 0"
    shape = np.ones(x.ndim, int)
    shape[call.attrs.axis] = scale.size
    return Const(x, scale.reshape(shape))


def _bounded(x, low, high):
    match x:
        case Integers():
            low, high = low - x.zero_point, high - x.zero_point
            return replace(x, lo=max(x.lo, low), hi=min(x.hi, high))
        case Bounded():
            return Bounded(x.value, *np.clip([x.low, x.high], low, high))
        case Concat():
            return replace(x, parts=[_bounded(part, low, high) for part in x.parts])
        case Raw() | Acc() | Sum() | Product() | Rectified() | Softmax() | Normalized():
            return Bounded(x, low, high)
        case Mapped():
            return replace(x, results=np.clip(x.results, F32(low), F32(high)))
    return np.clip(leave(x), F32(low), F32(high))


def _conv2d(call, x, w):
    if isinstance(x, Raw) and isinstance(w, Const) and w.scale.size == len(w.scale):
        a = call.attrs
        acc = conv2d_acc(x.q, w.q, None, a.strides, a.padding, a.dilation, a.groups)
        return Acc(acc, accumulator_scale(x, w).reshape(1, -1, 1, 1))


def _matmul(call, x, w):
    if isinstance(x, Raw) and isinstance(w, Raw) and x.shape[:-2] == w.shape[:-2] and -128 <= w.lo <= w.hi <= 127:
        return Product(dense_acc(x.q, w.q), F64(x.scale) * F64(w.scale))
    if isinstance(x, Raw) and isinstance(w, Const) and x.q.ndim == 2 and w.scale.size == w.scale.shape[-1]:
        return Acc(dense_acc(x.q, w.q), accumulator_scale(x, w))


def accumulator_scale(x, w):
    return (F64(x.scale) * w.scale.astype(F64)).astype(F32).astype(F64)


def _add(call, a, b):
    match a, b:
        case Acc(), Const() if b.q.dtype == "int32" and np.array_equal(*np.broadcast_arrays(a.multiplier(1), b.scale)):
            return replace(a, acc=int32(a.acc.astype("int64") + b.q))
        case (Raw(), Raw() | Acc()) | (Acc(), Raw()) if a.shape == b.shape:
            return Sum([a, b])
    mapped = _pointwise(np.add, a, b)
    if mapped is None:
        for raw, constant in ((a, b), (b, a)):
            if (
                isinstance(raw, Raw)
                and _is_offset(constant)
                and np.broadcast_shapes(raw.shape, constant.shape) == raw.shape
            ):
                return Sum([raw, Offset(constant)])
    return mapped


def _is_offset(constant):
    return isinstance(constant, np.ndarray) and constant.dtype == "float32" and (constant < np.inf).all()


def _softmax(mod, call, x):
    if isinstance(x, Raw) and call.attrs.axis % len(x.shape) == len(x.shape) - 1 and x.shape[-1] <= 65535:
        return Softmax(x, lambda real: _float_operator(mod, call, [real]))


def _normalized(mod, call, x, *constants):
    """Layer normalization by gamma and beta, or RMS normalization by gamma."""
    gamma, beta = constants if len(constants) == 2 else (*constants, np.zeros_like(constants[0]))
    last = [int(axis) % len(x.shape) for axis in call.attrs.axes] == [len(x.shape) - 1]
    if (
        isinstance(x, Raw)
        and last
        and x.shape[-1] * max(-x.lo, x.hi) < 2**26
        and np.isfinite(gamma).all()
        and np.isfinite(beta).all()
    ):
        real = lambda leaving: _float_operator(mod, call, [leaving, *constants])  # noqa: E731
        return Normalized(x, gamma, beta, float(call.attrs.epsilon), len(constants) == 2, real)


def _pointwise(function, *operands):
    """A function of the elements of one Raw, and of numbers, that gives no more elements than that has."""
    shapes = [operand.shape for operand in operands if isinstance(operand, np.ndarray)]
    operands = [_number(operand) if isinstance(operand, np.ndarray) else mapped(operand) for operand in operands]
    tensors = [operand for operand in operands if isinstance(operand, Mapped)]
    if not tensors or any(operand is None for operand in operands):
        return None
    source = tensors[0].source
    if np.broadcast_shapes(source.shape, *shapes) != source.shape:
        return None
    if not all(_same(source, tensor.source) for tensor in tensors):
        return None
    with np.errstate(all="ignore"):
        return Mapped(source, function(*(getattr(operand, "results", operand) for operand in operands)))


def _multiply(call, a, b):
    mapped = _pointwise(np.multiply, a, b)
    if mapped is None and isinstance(a, Raw) and isinstance(b, Raw):
        for whole, other in ((a.shape, b.shape), (b.shape, a.shape)):
            if whole == other or (len(whole) == 4 and other == (*whole[:2], 1, 1)):
                return Product(int32(a.q.astype("int64") * b.q), F64(a.scale) * F64(b.scale))
    return mapped


def _prelu(call, x, slopes):
    mapped = _pointwise(leaky, x, slopes)
    if mapped is None and isinstance(x, Raw) and call.attrs.axis == 1 and x.q.ndim in (2, 4):
        return Rectified(x, slopes)
    return mapped


def _number(constant):
    one = constant.dtype == "float32" and constant.size and (constant == constant.flat[0]).all()
    return F64(constant.flat[0]) if one else None


def _same(a, b):
    """The same integers at the same scale, perhaps dequantized twice."""
    return (a.scale, a.lo, a.hi, a.shape) == (b.scale, b.lo, b.hi, b.shape) and np.array_equal(a.q, b.q)


def _avg_pool2d(call, x):
    if isinstance(x, Raw):
        a = call.attrs
        acc, count = avg_pool_acc(x.q, a.pool_size, a.strides, a.padding, a.dilation, a.ceil_mode, a.count_include_pad)
        return Acc(acc, F64(x.scale), count)


def _mean(call, x):
    axes = tuple(int(axis) for axis in call.attrs.axis or ())
    if isinstance(x, Raw) and x.q.ndim == 4 and sorted(axis % 4 for axis in axes) == [2, 3]:
        acc = int32(x.q.astype("int64").sum(axes, keepdims=call.attrs.keepdims))
        return Acc(acc, F64(x.scale), x.q.shape[2] * x.q.shape[3])


def _concat(call, parts):
    if all(isinstance(part, Raw) and part.scale == parts[0].scale for part in parts):
        q = np.concatenate([part.q for part in parts], call.attrs.axis)
        return replace(parts[0], q=q, lo=min(part.lo for part in parts), hi=max(part.hi for part in parts))
    return Concat(parts, int(call.attrs.axis))


def _pad(call, x):
    if isinstance(x, Raw) and call.attrs.pad_mode == "constant" and call.attrs.pad_value == 0:
        return replace(x, q=np.pad(x.q, np.reshape([int(width) for width in call.attrs.pad_width], (-1, 2))))


def _resize2d(call, x, size):
    a = call.attrs
    coordinates = "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"
    known = a.layout == "NCHW" and a.method in ("nearest_neighbor", "linear")
    if known and isinstance(x, Raw) and a.coordinate_transformation_mode in coordinates:
        size = [int(extent) for extent in size.values]
        bits = 11 if max(-x.lo, x.hi) <= 255 else 9
        q = resize(x.q, size, a.method, a.coordinate_transformation_mode, a.rounding_method, bits)
        return replace(x, q=q)


def _strided_slice(call, x):
    axes, begin, end, *strides = ([int(number) for number in numbers.fields] for numbers in call.args[1:])
    index = [slice(None)] * x.ndim
    for axis, *parts in zip(axes, begin, end, *(strides or [[1] * len(axes)]), strict=True):
        index[axis] = slice(*parts)
    return x[tuple(index)]


def _max_pool2d(call, x):
    a = call.attrs
    return max_pool(x, a.pool_size, a.strides, a.padding, a.dilation, a.ceil_mode)


POINTWISE = UNARY | BINARY
INTEGER = {name: lambda call, *args: _pointwise(POINTWISE[call.op.name], *args) for name in POINTWISE} | {
    "relax.quantize": _quantize,
    "relax.dequantize": _dequantize,
    "relax.clip": lambda call, x, low, high: _bounded(x, low.value, high.value),
    "relax.nn.relu": lambda call, x: _bounded(x, 0, np.inf),
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
    "relax.add": _add,
    "relax.multiply": _multiply,
    "relax.nn.prelu": _prelu,
    "relax.nn.leakyrelu": lambda call, x: _pointwise(lambda v: leaky(v, float(call.attrs.alpha)), x),
    "relax.nn.avg_pool2d": _avg_pool2d,
    "relax.mean": _mean,
    "relax.concat": _concat,
    "relax.nn.pad": _pad,
    "relax.image.resize2d": _resize2d,
}

ROWS = {"relax.nn.softmax": _softmax, "relax.nn.layer_norm": _normalized, "relax.nn.rms_norm": _normalized}

MOVES = {  # functions of the array alone: of Raw they give Raw
    "relax.reshape": lambda call, x: x.reshape([int(dim) for dim in call.ty.shape]),
    "relax.permute_dims": lambda call, x: x.transpose(call.attrs.axes and [int(axis) for axis in call.attrs.axes]),
    "relax.strided_slice": _strided_slice,
    "relax.nn.max_pool2d": _max_pool2d,
}


def _float_operator(mod: tvm.IRModule, call: relax.Call, args: list) -> np.ndarray:
    """A float32 operator. TVM computes it, but for convolutions, whose unscheduled loops are slow."""
    if call.op == tvm.ir.Op.get("relax.nn.conv2d"):
        a = call.attrs
        y = correlate(leave(args[0]), leave(args[1]), a.strides, a.padding, a.dilation, a.groups, F64)
        return y.astype(F32)
    arrays, parameters = [], []

    def rebuild(value):
        if isinstance(value, list):
            return relax.Tuple([rebuild(part) for part in value])
        if isinstance(value, tvm.ir.Expr):  # a shape, number or function
            return value
        arrays.append(np.ascontiguousarray(leave(value)))
        parameters.append(relax.Var(f"x{len(arrays)}", relax.TensorType(arrays[-1].shape, str(arrays[-1].dtype))))
        return parameters[-1]

    operator = relax.Call(call.op, [rebuild(value) for value in args], call.attrs, call.ty_args)
    kernels = {name: kernel for name, kernel in mod.functions.items() if isinstance(kernel, tvm.tirx.PrimFunc)}
    builder = relax.BlockBuilder(tvm.IRModule(kernels))
    with builder.function("operator", parameters):
        builder.emit_func_output(builder.emit(operator))
    compiled = _compile(tvm.ir.save_json(builder.get()))
    result = compiled["operator"](*map(tvm.runtime.tensor, arrays))
    return result.numpy() if isinstance(result, tvm.runtime.Tensor) else [part.numpy() for part in result]


@functools.cache
def _compile(module: str) -> relax.VirtualMachine:
    executable = tvm.compile(tvm.ir.load_json(module), tvm.target.Target("llvm"))
    return relax.VirtualMachine(executable, tvm.cpu())
