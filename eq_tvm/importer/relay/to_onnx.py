"""From Relay's expressions to an ONNX model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eq_tvm.importer.relay.accumulator import integer_sums
from eq_tvm.importer.relay.expressions import (
    Call,
    Constant,
    Expr,
    Function,
    GlobalVar,
    Let,
    Module,
    Tuple,
    TupleGetItem,
    Unsupported,
    Var,
)
from eq_tvm.importer.relay.graph_writer import OPSET, GraphWriter, onnx_dtype
from eq_tvm.importer.relay.operation import Operation, Result
from eq_tvm.importer.relay.operators import RULES
from eq_tvm.importer.relay.quantized_values import on_integers
from eq_tvm.importer.relay.values import Value


def to_onnx(module: Module, params: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The network that ``main`` computes.

    Parameters
    ----------
    module : Module
    params : mapping of str to numpy.ndarray
        Values of ``main``'s parameters, by name; the others are the network's inputs.

    Returns
    -------
    onnx.ModelProto
        Of one graph; functions are inlined, and what no output needs is left out.

    Raises
    ------
    ValueError
        What can't be written as ONNX: names the operator and the way out.
    """
    if "main" not in module.functions:
        raise ValueError(f"it has no function main, but {', '.join(module.functions)}; save one with main")
    walk = _Walk(module)
    main = module.functions["main"]
    inputs = [_bound(walk, param, params) for param in main.params]
    if params and None not in inputs:
        raise ValueError(f"none of the parameters in the file beside it is main's: they are {', '.join(params)[:200]}")
    result = walk.result(main.body)
    outputs = [_written(walk.writer, value) for value in _flat(result)]
    graph = _graph(walk.writer, [value for value in inputs if value is not None], outputs)
    # IR version 8 goes with operator set 17: all runtimes of today read it
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="eq_tvm (of TVM Relay)"
    )


@dataclass(eq=False)
class _Scope:
    """Values of a function's, as it is called once."""

    outer: _Scope | None = None
    function: Function | None = None
    variables: dict[int, Result | _Closure] = field(default_factory=dict)
    values: dict[int, Result | _Closure] = field(default_factory=dict)
    calls: dict[int, _Scope] = field(default_factory=dict)

    def find(self, var: Var) -> Result | _Closure | None:
        scope: _Scope | None = self
        while scope is not None:
            if id(var) in scope.variables:
                return scope.variables[id(var)]
            scope = scope.outer
        return None

    def within(self, function: Function) -> bool:
        scope: _Scope | None = self
        while scope is not None and scope.function is not function:
            scope = scope.outer
        return scope is not None


@dataclass(frozen=True, eq=False)
class _Closure:
    """A function, with what it sees."""

    function: Function
    scope: _Scope


_Found = Result | _Closure
_Place = tuple[Expr, _Scope]


class _Walk:
    """Computes what stands before it first, with a stack of its own: networks are deeper than Python's."""

    def __init__(self, module: Module) -> None:
        self.module, self.writer, self.root = module, GraphWriter(), _Scope()
        self.count = 0

    def result(self, body: Expr) -> Result:
        stack: list[_Place] = [(body, self.root)]
        while stack:
            expr, scope = stack[-1]
            if id(expr) in scope.values:
                stack.pop()
                continue
            missing = next(self._missing(expr, scope), None)
            if missing is None:
                scope.values[id(expr)] = self._value(expr, scope)
                stack.pop()
            else:
                stack.append(missing)
        return _tensors(self.root.values[id(body)])

    def _missing(self, expr: Expr, scope: _Scope) -> Iterator[_Place]:
        """What has to be computed before, the first first."""
        if isinstance(expr, Call) and isinstance(expr.callee, str) and expr.callee not in RULES:
            raise ValueError(_unknown(expr.callee))
        for child in _children(expr):
            if id(child) not in scope.values:
                yield child, scope
        if isinstance(expr, Let):
            scope.variables[id(expr.var)] = scope.values[id(expr.value)]
            if id(expr.body) not in scope.values:
                yield expr.body, scope
        if isinstance(expr, Call) and not isinstance(expr.callee, str):
            called, body = self._called(expr, scope)
            if id(body) not in called.values:
                yield body, called

    def _called(self, call: Call, scope: _Scope) -> tuple[_Scope, Expr]:
        """Where a function is called: the values in there, and the one it returns."""
        closure = scope.values[id(call.callee)]
        if not isinstance(closure, _Closure):
            raise ValueError("it calls what is no function")
        function = closure.function
        if id(call) not in scope.calls:
            if len(function.params) != len(call.args):
                raise ValueError(f"it calls a function of {len(function.params)} with {len(call.args)} arguments")
            inner = _Scope(closure.scope, function)
            if scope.within(function) or _depth(scope) > 200:
                raise ValueError("it has a recursive function; save the network without loops")
            for param, argument in zip(function.params, call.args, strict=True):
                inner.variables[id(param)] = scope.values[id(argument)]
            scope.calls[id(call)] = inner
        return scope.calls[id(call)], function.body

    def _value(self, expr: Expr, scope: _Scope) -> _Found:
        match expr:
            case Constant():
                return self.writer.constant(expr.value)
            case Var():
                found = scope.find(expr)
                if found is None:
                    raise ValueError(f"variable {expr.name!r} has no value")
                return found
            case GlobalVar():
                if expr.name not in self.module.functions:
                    raise ValueError(f"it calls @{expr.name}, which it does not have; save the whole module")
                return _Closure(self.module.functions[expr.name], self.root)
            case Function():
                return _Closure(expr, scope)
            case Tuple():
                return tuple(_tensors(scope.values[id(item)]) for item in expr.fields)
            case TupleGetItem():
                return self._item(scope.values[id(expr.tuple)], expr.index)
            case Let():
                return scope.values[id(expr.body)]
            case Unsupported():
                raise ValueError(f"{_UNSUPPORTED.get(expr.what, expr.what)} can't be read; {_WAY_OUT}")
        if isinstance(expr.callee, str):
            return self._operator(expr, tuple(_tensors(scope.values[id(argument)]) for argument in expr.args))
        called, body = self._called(expr, scope)
        return called.values[id(body)]

    @staticmethod
    def _item(value: _Found, index: int) -> Result:
        if not isinstance(value, tuple) or not 0 <= index < len(value):
            raise ValueError(f"it takes item {index} of what has no such item")
        return value[index]

    def _operator(self, call: Call, args: tuple[Result, ...]) -> Result:
        operator = str(call.callee)
        rule = RULES[operator]
        name = call.name or f"{operator}_{self.count}"
        self.count += 1
        operation = Operation(operator, name, args, call.attrs, self.writer, self.module.version)
        try:
            return rule(operation) if operator.startswith("qnn.") else on_integers(operation, rule)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise ValueError(f"operator {operator} (node {name!r}): {_said(error)}") from error


_WAY_OUT = "save the module as a plain network of operators, before it is compiled or differentiated"
_UNSUPPORTED = {
    "if": "control flow (if)",
    "relay.If": "control flow (if)",
    "match": "pattern matching (match)",
    "relay.Match": "pattern matching (match)",
}


def _unknown(operator: str) -> str:
    """Why an operator can't be read, with the way out."""
    if operator.startswith(("call_lowered", "vm.", "memory.")):
        return f"operator {operator} calls compiled code; save the module before relay.build"
    if operator.startswith("dyn."):
        return f"operator {operator} has shapes that depend on data; save the module with static shapes"
    if operator.endswith("_grad") or operator.startswith("nn.cross_entropy"):
        return f"operator {operator} is of training; save the network for inference"
    if "winograd" in operator or operator.startswith("nn.contrib_"):
        return f"operator {operator} has weights in a form of its own; save the module before AlterOpLayout"
    return f"operator {operator} can't be read; {_WAY_OUT}, or export the network as ONNX"


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"its arguments or attributes are not Relay's ({error!r})"


def _depth(scope: _Scope) -> int:
    depth, outer = 0, scope.outer
    while outer is not None:
        depth, outer = depth + 1, outer.outer
    return depth


def _children(expr: Expr) -> list[Expr]:
    match expr:
        case Call():
            return [*expr.args] if isinstance(expr.callee, str) else [expr.callee, *expr.args]
        case Tuple():
            return list(expr.fields)
        case TupleGetItem():
            return [expr.tuple]
        case Let():
            return [expr.value]
    return []


def _tensors(value: _Found) -> Result:
    if isinstance(value, _Closure):
        raise ValueError("it has functions as values; save the network without them")
    return value


def _flat(result: Result) -> list[Value]:
    return [result] if isinstance(result, Value) else [value for part in result for value in _flat(part)]


def _bound(walk: _Walk, param: Var, params: Mapping[str, np.ndarray]) -> Value | None:
    """The input that a parameter is; None of those that have a value."""
    ty, name = param.type, param.name
    if name[:1] == "v" and not name[1:2].isalpha() and name[1:] in params and name not in params:
        name = name[1:]  # text puts it before names that begin with no letter
    if name in params:
        array = params[name]
        if ty is not None and (tuple(ty.shape) != array.shape or ty.dtype != array.dtype.name):
            raise ValueError(
                f"parameter {param.name!r} is {array.dtype.name} {array.shape} in the file of parameters, and "
                f"{ty.dtype} {ty.shape} in the module"
            )
        walk.root.variables[id(param)] = walk.writer.constant(array, param.name)
        return None
    if ty is None:
        raise ValueError(f"input {param.name!r} has no tensor's type; save the module after InferType")
    if None in ty.shape:
        raise ValueError(f"input {param.name!r} is of the dynamic shape {ty.shape}; save the module with static shapes")
    value = walk.writer.input(param.name, tuple(axis or 0 for axis in ty.shape), ty.dtype)
    walk.root.variables[id(param)] = value
    return value


def _written(writer: GraphWriter, value: Value) -> Value:
    """An output needs a node of its own, where it is an input or a constant."""
    if value.accumulator is not None:
        value = integer_sums(Operation("output", "output", (), {}, writer), value.accumulator)
    made = {name for node in writer.nodes for name in node.output}
    return value if value.name in made else writer.emit("output", "Identity", [value])


def _graph(writer: GraphWriter, inputs: list[Value], outputs: list[Value]) -> onnx.GraphProto:
    names: list[Value] = []
    for value in outputs:  # one that comes twice needs a second name
        taken = any(value.name == other.name for other in names)
        names.append(writer.emit("output", "Identity", [value]) if taken else value)
    needed = {value.name for value in names}
    nodes = []
    for node in reversed(writer.nodes):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            nodes.append(node)
    constants = [numpy_helper.from_array(a, name) for name, a in writer.initializers.items() if name in needed]
    return helper.make_graph(
        nodes[::-1],
        "main",
        [helper.make_tensor_value_info(v.name, onnx_dtype(v.dtype), v.shape) for v in inputs],
        [helper.make_tensor_value_info(v.name, onnx_dtype(v.dtype), v.shape) for v in names],
        initializer=constants,
    )
