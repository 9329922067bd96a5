"""A lowered module as what it is at run time: a list of calls on buffers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax, tirx

from eq_tvm.passes.graph.rewrite import operator_name

NEEDS_RUNTIME = "needs TVM's runtime, which a standalone library does without: use --artifact bundle"


@dataclass
class Program:
    """A network as a straight line of calls.

    Attributes
    ----------
    functions : tvm.IRModule
        The PrimFuncs that are called; their ``global_symbol`` is their name.
    sizes : list of int
        Bytes of each buffer: of what is passed in and out, of constants and of intermediate results.
    constants : dict from int to np.ndarray
        The contents of those buffers that never change.
    calls : list of (str, list of int)
        Name of a function, and the buffers that are its arguments, in the order of execution.
    inputs, outputs : list of int
        Buffers. An output may be an input or a constant, or be there twice.
    """

    functions: tvm.IRModule
    sizes: list[int] = field(default_factory=list)
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    calls: list[tuple[str, list[int]]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


def straight_line(mod: tvm.IRModule) -> Program:
    """The program of a lowered module (see `eq_tvm.pipeline.lower`).

    Raises
    ------
    ValueError
        Something in it takes more than calls of PrimFuncs on tensors of fixed shapes.
    """
    mod = relax.transform.RewriteDataflowReshape()(mod)
    mod = relax.transform.DeadCodeElimination(["main"])(mod)
    functions = {
        var.name_hint: function.with_attr("global_symbol", var.name_hint)
        for var, function in mod.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    line = _Line(Program(tvm.IRModule(functions)))
    main = mod["main"]
    line.program.inputs = [line.define(param, param.ty)[0] for param in main.params]
    for block in main.body.blocks:
        for binding in block.bindings:
            line.bind(binding.var, binding.value)
    line.program.outputs = _listed(line.value(main.body.body, "the result"))
    return line.program


class _Line:
    def __init__(self, program: Program):
        self.program = program
        self.values: dict[relax.Var, int | list[int]] = {}  # buffer, or the buffers of a tuple
        self.constants: dict[bytes, int] = {}

    def bind(self, var: relax.Var, value: relax.Expr) -> None:
        operator = operator_name(value)
        if operator == "relax.call_tir" and len(value.args) == 2:
            function, arguments = value.args
            buffers = self.arguments(arguments, var.name)
            self.program.calls.append((function.name_hint, [*buffers, *self.define(var, var.ty)]))
        elif operator == "relax.call_tir_inplace":
            function, arguments = value.args
            buffers = self.arguments(arguments, var.name)
            (written,) = (int(index) for index in value.attrs.inplace_indices)
            self.program.calls.append((function.name_hint, buffers))
            self.values[var] = buffers[written]
        elif operator == "relax.reshape":
            self.values[var] = self.value(value.args[0], var.name)
        elif operator is None and not isinstance(value, relax.Call):
            self.values[var] = self.value(value, var.name)
        else:
            raise ValueError(f"layer {var.name}: {operator or 'a call'} {NEEDS_RUNTIME}")

    def arguments(self, values: relax.Tuple, name: str) -> list[int]:
        """The buffers of tensors that a function is called with."""
        return [buffer for value in values.fields for buffer in _listed(self.value(value, name))]

    def value(self, expr: relax.Expr, name: str) -> int | list[int]:
        """The buffer that holds `expr`, or those of a tuple."""
        if isinstance(expr, relax.Var):
            return self.values[expr]
        if isinstance(expr, relax.Tuple):
            return [buffer for item in expr.fields for buffer in _listed(self.value(item, name))]
        if isinstance(expr, relax.TupleGetItem):
            return _listed(self.value(expr.tuple_value, name))[expr.index]
        if isinstance(expr, tvm.ir.GenericConst):
            return self.constant(expr.value.numpy())
        raise ValueError(f"layer {name}: {type(expr).__name__} {NEEDS_RUNTIME}")

    def constant(self, array: np.ndarray) -> int:
        """Equal bytes are one buffer."""
        content = array.tobytes()
        if content not in self.constants:
            self.constants[content] = self.buffer(array.nbytes)
            self.program.constants[self.constants[content]] = array
        return self.constants[content]

    def define(self, var: relax.Var, ty: relax.Type) -> list[int]:
        """New buffers for a variable: one, or those of a tuple."""
        if isinstance(ty, tvm.ir.TupleType):
            buffers = [self.buffer(_bytes(each, var.name)) for each in ty.fields]
            self.values[var] = buffers
            return buffers
        self.values[var] = buffer = self.buffer(_bytes(ty, var.name))
        return [buffer]

    def buffer(self, size: int) -> int:
        self.program.sizes.append(size)
        return len(self.program.sizes) - 1


def _listed(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


def _bytes(ty: relax.TensorType, name: str) -> int:
    if ty.shape is None or not all(isinstance(extent, tirx.IntImm) for extent in ty.shape):
        raise ValueError(f"layer {name}: a dynamic shape {NEEDS_RUNTIME}")
    return math.prod(int(extent) for extent in ty.shape) * -(-tvm.DataType(str(ty.dtype)).bits // 8)
