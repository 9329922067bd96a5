"""Annotated -> integer: quantized regions become calls to scheduled kernels, float islands keep float."""

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from ..graph.rewrite import operator_name
from .join_in_place import join_in_place
from .kernels import Kernels
from .lowered_values import NHWC_OF_NCHW, UNBOUNDED, Average, Joined, Linear, Quantizing, Sum, Tensor, Weights
from .lowering_rules import RULES
from .materialize import Materializer
from .weight_size import choose_small

NCHW_OF_NHWC = (0, 3, 1, 2)

# Float operators that work element by element: they keep whatever layout their input has.
_ELEMENTWISE = {
    f"relax.{name}"
    for name in (
        "nn.relu",
        "clip",
        "sigmoid",
        "tanh",
        "exp",
        "sqrt",
        "nn.silu",
        "nn.gelu",
        "nn.leakyrelu",
        "abs",
        "negative",
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
    )
}


@tvm.transform.module_pass(opt_level=0, name="LowerToInteger")
class LowerToInteger:
    """Lower convolutions, dense layers and everything between them to scheduled kernels.

    Works on an annotated module (integers wherever quantize/dequantize pairs say so) and on a canonical float module
    (float32 kernels). What it does not know stays the float operator that it was. Concatenations of channels copy
    nothing where the kernels before them can write in place (`join_in_place`).

    Parameters
    ----------
    machine : eq_tvm.schedules.processor.machine.Machine
        The CPU's multiply instructions and caches.
    choose : callable (key, candidates) -> Candidate, optional
        Picks the kernel of the layer that `key` describes (see `eq_tvm.schedules.choice.candidates`). By default the
        one that is estimated to be the fastest.
    optimize : {"speed", "size"}
        ``size`` leaves out kernels that enlarge the weights (see `weight_size`).

    Attributes
    ----------
    record : list of dict
        The kernel chosen for each layer, after the pass has run.
    """

    def __init__(self, machine, choose=None, optimize="speed"):
        choose = choose or _cheapest
        self.machine, self.choose = machine, choose_small(choose) if optimize == "size" else choose
        self.record = []

    def transform_module(self, mod, _ctx):
        """Replace ``main``; kernels are added to the module."""
        main = mod["main"]
        others = {var: func for var, func in mod.functions_items() if var.name_hint != "main"}
        builder = relax.BlockBuilder(tvm.IRModule(others))
        with builder.function("main", main.params, attrs=dict(main.attrs or {})):
            with builder.dataflow():
                lowering = _Lowering(builder, Kernels(builder, self.machine, self.choose), main.params)
                for block in main.body.blocks:
                    for binding in block.bindings:
                        lowering.bind(binding.var, binding.value)
                result = builder.emit_output(lowering.result(main.body.body))
            builder.emit_func_output(result)
        mod, called = join_in_place(builder.finalize())
        self.record = [layer | {"function": called[layer["function"]].pop(0)} for layer in lowering.kernels.record]
        return mod


class _Lowering:
    def __init__(self, builder, kernels, params):
        self.builder = builder
        self.kernels = kernels
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
        rule = RULES.get(operator_name(value))
        lowered = rule(self, value) if rule else None
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
            first, second = replace(value, residual=None, bounds=UNBOUNDED), value.residual
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
                expr = self.kernels.dequantize(value, np.array(UNBOUNDED, "float32"), True)
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
        if isinstance(call, relax.TupleGetItem):
            return self.emitted(relax.TupleGetItem(self.argument(call.tuple_value, False), call.index), False)
        if not isinstance(call, relax.Call):
            return self.emitted(self.argument(call, False), False)
        values = [self.value(arg) for arg in call.args]
        tensors = [self.real(v) for v in values if not isinstance(v, relax.Expr | Weights | Quantizing)]
        rest = [v for v in values if isinstance(v, relax.Expr | Weights | Quantizing)]
        nhwc = (
            operator_name(call) in _ELEMENTWISE
            and all(t.nhwc for t in tensors)
            and len({t.shape for t in tensors}) == 1
            and all(map(_is_scalar, rest))
        )
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
        dtype = "uint8" if value.low >= 0 and value.high > 127 else "int8"
        return self.builder.emit(relax.op.astype(tensor.expr, dtype))


def _cheapest(_key, candidates):
    return min(candidates, key=lambda candidate: candidate.cycles)


def _is_scalar(value):
    return isinstance(value, relax.Expr) and not (
        isinstance(value, tvm.ir.GenericConst) and value.value.numpy().size > 1
    )
