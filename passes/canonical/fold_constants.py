"""Evaluate operators whose operands are all constants."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class FoldConstants:
    """Evaluate calls on constants, as far as possible with numpy.

    ``relax.transform.FoldConstant`` compiles and runs each of them, which takes long for the biases and clip bounds of
    a MobileNet; here that is the way of the rare ones only. Known shapes are constants, too, in place and as tensors.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _fold)


_TAKE_MODES: dict[str, Literal["raise", "wrap", "clip"]] = {"fast": "raise", "wrap": "wrap", "clip": "clip"}


def _reshape(call: relax.Call, x: np.ndarray) -> np.ndarray:
    return x.reshape(shape(call))


def _take(call: relax.Call, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    axis = None if call.attrs.axis is None else int(call.attrs.axis)
    return np.take(x, indices, axis, mode=_TAKE_MODES[str(call.attrs.mode)])


def _strided_slice(call: relax.Call, x: np.ndarray) -> np.ndarray:
    axes, begins, ends, *strides = ([int(number) for number in arg.fields] for arg in call.args[1:])
    steps = strides[0] if strides else [1] * len(axes)
    if min(steps, default=1) < 0:
        return _compiled(call)
    index = [slice(None)] * x.ndim
    for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        index[axis] = slice(begin, end, step)
    return x[tuple(index)]


def _quantize(call: relax.Call, x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    scale, zero = (_along_axis(call, x, each) for each in (scale, zero))
    info = np.iinfo(str(call.attrs.out_dtype))
    return np.clip(np.rint(x / scale) + zero.astype(np.float32), info.min, info.max)


def _dequantize(call: relax.Call, x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    scale, zero = (_along_axis(call, x, each) for each in (scale, zero))
    return (x.astype(np.int32) - zero.astype(np.int32)).astype(scale.dtype) * scale


def _along_axis(call: relax.Call, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One for all of `x`, or one for each index of the call's axis."""
    axis = int(call.attrs.axis) % max(x.ndim, 1)
    return values.reshape(() if values.size == 1 else [-1 if i == axis else 1 for i in range(x.ndim)])


_Evaluate = Callable[..., np.ndarray]  # (call, *operands)

_ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    "negative": np.negative,
    "abs": np.abs,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "isnan": np.isnan,
    "where": np.where,
}


def _elementwise(function: Callable[..., np.ndarray]) -> _Evaluate:
    return lambda _call, *x: function(*x)


_EVALUATE: dict[str | None, _Evaluate] = {
    **{f"relax.{name}": _elementwise(function) for name, function in _ELEMENTWISE.items()},
    "relax.astype": lambda call, x: x,
    "relax.broadcast_to": lambda call, x: np.broadcast_to(x, shape(call)),
    "relax.concat": lambda call, *x: np.concatenate(x, axis=int(call.attrs.axis)),
    "relax.dequantize": _dequantize,
    "relax.expand_dims": _reshape,
    "relax.flatten": _reshape,
    "relax.permute_dims": lambda call, x: x.transpose(call.attrs.axes and [int(axis) for axis in call.attrs.axes]),
    "relax.quantize": _quantize,
    "relax.reshape": _reshape,
    "relax.squeeze": _reshape,
    "relax.strided_slice": _strided_slice,
    "relax.take": _take,
}


def _fold(_graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if (name := operator_name(value)) is None:
        return None
    known = [_known_shape(arg) for arg in value.args]
    if name == "relax.shape_to_tensor" and known[0] is not None:
        return {var: relax.const(np.array(known[0].values, "int64"), "int64")}
    if any(found is not None and not found.same_as(arg) for found, arg in zip(known, value.args, strict=True)):
        args = [arg if found is None else found for found, arg in zip(known, value.args, strict=True)]
        return {var: relax.Call(value.op, args, value.attrs, value.ty_args)}
    operands = [x for arg in value.args for x in (arg.fields if isinstance(arg, relax.Tuple) else [arg])]
    operands = [array(x) for x in operands if isinstance(x.ty, relax.TensorType)]
    if (
        not operands
        or any(x is None for x in operands)
        or name == "relax.call_tir"
        or not isinstance(value.ty, relax.TensorType)
    ):
        return None
    evaluate: _Evaluate = _EVALUATE.get(name) or _compiled
    with np.errstate(all="ignore"):  # infinities follow IEEE 754 here as they would at run time
        result = evaluate(value, *operands)
    dtype = str(value.ty.dtype)  # said again: `relax.const` makes 32 bits of 64
    return {var: relax.const(np.ascontiguousarray(result, dtype).reshape(shape(value)), dtype)}


def _compiled(call: relax.Call, *_operands: np.ndarray) -> np.ndarray:
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        builder.emit_func_output(builder.normalize(call))
    run: Callable[[], Any] = relax.VirtualMachine(tvm.compile(builder.get(), "llvm"), tvm.cpu())["main"]
    return np.asarray(run().numpy())


def _known_shape(expr: relax.Expr) -> relax.ShapeExpr | None:
    """A static shape, itself or the variable bound to it; None for everything else."""
    if isinstance(expr, relax.ShapeExpr) or not isinstance(expr.ty, relax.ShapeType) or expr.ty.values is None:
        return expr if isinstance(expr, relax.ShapeExpr) else None
    values = list(expr.ty.values)
    return relax.ShapeExpr(values) if all(isinstance(value, tvm.tirx.IntImm) for value in values) else None
