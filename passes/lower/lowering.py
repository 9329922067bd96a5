"""A lowering in progress: what each variable stands for, and every value emitted at most once."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tvm import relax

from ..graph.rewrite import array, operator_name, shape
from ..islands.expressions import EXPRESSIONS
from .kernels import Kernels
from .lowered_values import (
    NHWC_OF_NCHW,
    UNBOUNDED,
    Accumulated,
    Activation,
    Bounds,
    Joined,
    MatrixProduct,
    Offset,
    OfRows,
    Quantizing,
    Sum,
    Tensor,
    Value,
    Weights,
)
from .materialize import Materializer
from .rearranged import Rearranged, product_view

NCHW_OF_NHWC = (0, 3, 1, 2)


class Lowering:
    """What the rules (`rules`) look values up in, and emit code by.

    Parameters
    ----------
    builder : relax.BlockBuilder
        In a dataflow block of the function under construction.
    kernels : Kernels
        Emits into it.
    params : sequence of relax.Var
        The function's.

    Attributes
    ----------
    values : dict of relax.Var to Value
        What the variables of the annotated module stand for.
    name : str
        Of the binding at hand: a layer's, for messages.
    """

    def __init__(self, builder: relax.BlockBuilder, kernels: Kernels, params: Sequence[relax.Var]) -> None:
        self.builder, self.kernels = builder, kernels
        self.emit = Materializer(kernels, self.layout)
        self.values: dict[relax.Var, Value | Rearranged] = {param: Tensor(param) for param in params}
        self.name = ""
        # What was emitted, by the id of the value that it is made of, which is kept so that the id stays its own.
        self._quantized: dict[tuple[int, float, int, int], tuple[Activation, Tensor, Rearranged]] = {}
        self._real: dict[int, tuple[Activation, Tensor]] = {}
        self._plain: dict[int, tuple[Tensor, Tensor]] = {}
        self._layouts: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}
        self._moved: dict[tuple[int, bool], tuple[Rearranged, Tensor]] = {}

    def value(self, expr: relax.Expr) -> Value:
        """What an argument stands for; constants and shapes stand for themselves."""
        value = self.values[expr] if isinstance(expr, relax.Var) else expr
        return self.moved(value) if isinstance(value, Rearranged) else value

    def view(self, expr: relax.Expr) -> Rearranged | None:
        """An argument as a tensor that is to be rearranged further; None for constants."""
        value = self.values.get(expr)
        if isinstance(value, Rearranged):
            return value
        tensor = self.tensor(expr)
        return None if tensor is None else Rearranged.of(tensor)

    def fields(self, expr: relax.Expr) -> list[relax.Expr] | None:
        """The fields of a tuple, or None for everything else."""
        value = self.value(expr)
        return list(value.fields) if isinstance(value, relax.Tuple) else None

    def tensor(self, expr: relax.Expr) -> Tensor | None:
        """An argument as a tensor that exists, quantized or float; None for constants."""
        value = self.value(expr)
        if isinstance(value, Tensor):
            return value
        return self.real(value) if isinstance(value, Activation) else None

    def quantized(self, value: Activation, scale: np.float32, low: int, high: int) -> Tensor:
        """`value` as integers in [low, high] at `scale`."""
        return self.moved(self.quantized_view(value, scale, low, high))

    def quantized_view(self, value: Activation, scale: np.float32, low: int, high: int) -> Rearranged:
        """The same, perhaps to be rearranged further."""
        key = (id(value), float(scale), low, high)
        if key not in self._quantized:
            tensor = self.emit.quantized(value, scale, low, high)
            self._quantized[key] = (value, tensor, _as_annotated(value, tensor))
        return self._quantized[key][2]

    def stored(self, integers: Tensor, scale: np.float32, zero: int) -> Tensor:
        """Bytes that come from outside, such as an input's, as integers at a scale: less their zero point."""
        info, wanted = np.iinfo(integers.dtype), self.kernels.uneven_dtype
        low, high, expr = int(info.min) - zero, int(info.max) - zero, integers.expr
        if zero and integers.dtype != wanted:
            shift = int(np.iinfo(wanted).min) - int(info.min)
            wide = self.builder.emit(relax.op.add(relax.op.astype(expr, "int32"), relax.const(shift, "int32")))
            expr, zero = self.builder.emit(relax.op.astype(wide, wanted)), zero + shift
        return replace(integers, expr=expr, scale=scale, low=low, high=high, limit=max(abs(low), abs(high)), zero=zero)

    def real(self, value: Activation) -> Tensor:
        """`value` as a float32 tensor, stored as it comes."""
        if id(value) not in self._real:
            self._real[id(value)] = (value, self._emit_real(value))
        return self._real[id(value)][1]

    def plain(self, value: Activation) -> Tensor:
        """`value` as a float32 tensor with the annotated module's axes."""
        if not (isinstance(value, Tensor) and value.quantized and value.nhwc):
            return self.layout(self.real(value), False)
        if id(value) not in self._plain:
            expr = self.kernels.dequantize(value, np.array(UNBOUNDED, "float32"), True)
            self._plain[id(value)] = (value, Tensor(expr))
        return self._plain[id(value)][1]

    def layout(self, tensor: Tensor, nhwc: bool) -> Tensor:
        """`tensor` stored as NHWC or with the annotated module's axes."""
        if len(tensor.shape) != 4 or tensor.nhwc == nhwc:
            return tensor
        key = (id(tensor), nhwc)
        if key not in self._layouts:
            self._layouts[key] = (tensor, self._emit_moved(Rearranged.of(tensor), nhwc))
        return self._layouts[key][1]

    def moved(self, value: Rearranged, plain: bool = False) -> Tensor:
        """What was rearranged, in one transposition at most: stored as it comes, or `plain`ly, as annotated."""
        nhwc = not plain and value.stored_as_nhwc()
        if (id(value), nhwc) not in self._moved:
            unchanged = value == Rearranged.of(value.source) and nhwc == value.source.nhwc
            self._moved[id(value), nhwc] = (value, value.source if unchanged else self._emit_moved(value, nhwc))
        return self._moved[id(value), nhwc][1]

    def stored_plainly(self, tensor: Tensor) -> Tensor | None:
        """`tensor` stored with the annotated module's axes, if that takes no copy; None otherwise.

        One that was transposed when it was quantized is quantized anew.
        """
        if not tensor.nhwc:
            return tensor
        for (_, _, low, high), (value, found, _) in self._quantized.items():
            if found is tensor and isinstance(value, Tensor) and not value.quantized and not value.nhwc:
                anew = self.emit.quantized(replace(value, nhwc=True), np.float32(tensor.unit), low, high)
                return replace(anew, nhwc=False)
        return None

    def generic(self, call: relax.Expr) -> Value:
        """An operator that is kept as it is, on float tensors."""
        if isinstance(call, relax.TupleGetItem):
            return self._emitted(relax.TupleGetItem(self._argument(call.tuple_value, False), call.index), False)
        if not isinstance(call, relax.Call):
            return self._emitted(self._argument(call, False), False)
        nhwc = self._keeps_nhwc(call)
        args = [self._argument(arg, nhwc) for arg in call.args]
        return self._emitted(relax.Call(call.op, args, call.attrs, call.ty_args), nhwc)

    def result(self, expr: relax.Expr) -> relax.Expr:
        """The module's result: float tensors with their original axes."""
        fields = self.fields(expr)
        if fields is not None:
            return relax.Tuple([self.result(field) for field in fields])
        return self._argument(expr, False)

    def _emit_moved(self, value: Rearranged, nhwc: bool) -> Tensor:
        expr = value.source.expr
        runs, shape = value.runs(nhwc), value.shape
        if nhwc:
            shape = tuple(shape[axis] for axis in NHWC_OF_NCHW)
        if len(runs) <= 1:
            return replace(value.source, expr=self.kernels.reshape(expr, shape), nhwc=nhwc)
        stored = sorted(runs)
        extents = [math.prod(value.factors[i] for i in run) for run in stored]
        expr = self.kernels.transpose(expr, extents, [stored.index(run) for run in runs], shape)
        return replace(value.source, expr=expr, nhwc=nhwc)

    def _emit_real(self, value: Activation) -> Tensor:
        if isinstance(value, Joined):
            parts = [self.real(part) for part in value.parts]
            if all(part.nhwc for part in parts):
                return self.emit.join(parts, value.axis)
            exprs = [self.plain(part).expr for part in value.parts]
            return Tensor(self.builder.emit(relax.op.concat(exprs, value.axis)))
        if isinstance(value, Offset | OfRows):  # nobody quantizes it
            return self._real_bounded(self.generic(value.call), value.bounds)
        # A sum that nobody quantizes: in float, as the annotated module says.
        if isinstance(value, Sum):
            return self._real_sum(value.first, value.second, value.bounds)
        if isinstance(value, Accumulated) and value.residual is not None and value.source.quantized:
            return self._real_sum(replace(value, residual=None, bounds=UNBOUNDED), value.residual, value.bounds)
        return self.moved(_as_annotated(value, self.emit.real(value)))

    def _real_sum(self, first: Activation, second: Tensor, bounds: Bounds) -> Tensor:
        left = self.real(first)
        right = self.layout(self.real(second), left.nhwc)
        total = Tensor(self.builder.emit(relax.op.add(left.expr, right.expr)), left.nhwc)
        return self._real_bounded(total, bounds)

    def _real_bounded(self, tensor: Value, bounds: Bounds) -> Tensor:
        assert isinstance(tensor, Tensor)
        if not np.isfinite(bounds).any():
            return tensor
        return replace(tensor, expr=self.builder.emit(relax.op.clip(tensor.expr, *(float(bound) for bound in bounds))))

    def _keeps_nhwc(self, call: relax.Call) -> bool:
        """Whether a float operator works element by element, and on a whole tensor that is stored as NHWC."""
        if operator_name(call) not in EXPRESSIONS or call.ty.ndim != 4:
            return False
        values = [self.value(arg) for arg in call.args]
        tensors = [self.real(value) for value in values if isinstance(value, Activation)]
        whole = tuple(shape(call)[axis] for axis in NHWC_OF_NCHW)
        return all(len(tensor.shape) == 4 for tensor in tensors) and any(
            tensor.nhwc and tensor.shape == whole for tensor in tensors
        )

    def _emitted(self, expr: relax.Expr, nhwc: bool) -> Value:
        """A float expression as a value."""
        var = self.builder.emit(self.builder.normalize(expr))
        return Tensor(var, nhwc) if isinstance(var.ty, relax.TensorType) else var

    def _argument(self, expr: relax.Expr, nhwc: bool) -> relax.Expr:
        """A float operator's argument, as code."""
        view = self.values.get(expr)
        if isinstance(view, Rearranged) and not nhwc:
            return self.plain(self.moved(view, plain=True)).expr
        value = self.value(expr)
        if isinstance(value, Activation):
            return (self.layout(self.real(value), True) if nhwc else self.plain(value)).expr
        if isinstance(value, Weights):
            value = relax.const(value.real())
        if isinstance(value, Quantizing):
            return self._integers(value)
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self._argument(field, nhwc) for field in value.fields])
        constant = array(value) if nhwc else None
        return value if constant is None or constant.size == 1 else relax.const(_as_nhwc(constant), str(constant.dtype))

    def _integers(self, value: Quantizing) -> relax.Expr:
        """What is between quantize and dequantize, for an operator that wants the integers as they are."""
        tensor = self.layout(self.quantized(value.value, value.scale, value.low, value.high), False)
        shift, expr = value.zero_point - tensor.zero, tensor.expr
        if shift:
            expr = self.builder.emit(relax.op.add(relax.op.astype(expr, "int32"), relax.const(shift, "int32")))
        return self.builder.emit(relax.op.astype(expr, value.dtype))


def _as_nhwc(constant: np.ndarray) -> np.ndarray:
    """A constant that is broadcast to an NCHW tensor, for the same one as NHWC."""
    return np.ascontiguousarray(constant.reshape((1,) * (4 - constant.ndim) + constant.shape).transpose(NHWC_OF_NCHW))


def _as_annotated(value: Activation, tensor: Tensor) -> Rearranged:
    """What a value became, with the axes of the annotated module."""
    if isinstance(value, OfRows):
        return Rearranged(tensor, value.factors, value.axes)
    return product_view(value, tensor) if isinstance(value, MatrixProduct) else Rearranged.of(tensor)
