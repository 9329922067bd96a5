"""Turn the loop nests that the ONNX importer writes for simple operators back into those operators."""

import functools
from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx, topi

from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, operator_name, rewrite, shape


@relax_pass
class RecoverOperators:
    """Replace ``call_tir`` of a maximum, minimum or constant padding, and reductions over a stack, by plain operators.

    A function's name only suggests the operator. What decides is that TVM, asked for that operator on these operands,
    makes a structurally equal function. The sum, maximum or minimum over ``stack((a, b, ...))`` is that of a, b, ...
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) in _FOLDED:
        return _recover_folded(graph, var, value)
    if operator_name(value) != "relax.call_tir":
        return None
    name, function = value.args[0].name_hint.rstrip("0123456789_"), graph.mod[value.args[0]]
    if name not in _CANDIDATES:
        return None
    operator, topi_operator, read_arguments = _CANDIDATES[name]
    arguments = read_arguments(function, value)
    if arguments is None or not tvm_ffi.structural_equal(_loop_nest(topi_operator, *arguments), function):
        return None
    return {var: operator(*arguments)}


# What ONNX's Sum, Max and Min become: a reduction over the new axis of ``stack((a, b, ...))``
_FOLDED = {"relax.sum": relax.op.add, "relax.max": relax.op.maximum, "relax.min": relax.op.minimum}


def _recover_folded(graph: Graph, var: relax.Var, value: relax.Call) -> NewValues | None:
    stack = graph.call(value.args[0], "relax.stack")
    if stack is None or stack.attrs.axis != 0 or value.attrs.keepdims or list(value.attrs.axis or ()) != [0]:
        return None
    return {var: functools.reduce(_FOLDED[value.op.name], stack.args[0].fields)}


_Arguments = tuple[Any, ...]  # of an operator: expressions, shapes and numbers


def _two_operands(function: tirx.PrimFunc, call: relax.Call) -> _Arguments | None:
    """Those of a maximum or minimum; models older than opset 11 have the second one as a number inside the function."""
    operands = list(call.args[1])
    if len(operands) == 1:
        operands += _numbers(function)
    return tuple(operands) if len(operands) == 2 else None


def _padding(function: tirx.PrimFunc, call: relax.Call) -> _Arguments | None:
    """The importer's function says how much it adds in front of each axis where it reads: ``A[i - before, ...]``."""
    (data, *others), loads, numbers = call.args[1], _find(function, tvm.ir.TensorLoad), _numbers(function)
    offsets = [_offset(index) for index in loads[0].indices] if loads else [None]
    before = [offset for offset in offsets if offset is not None]
    if others or len(before) < len(offsets) or len(set(numbers)) > 1:
        return None
    after = [out - size - front for out, size, front in zip(shape(call), shape(data), before, strict=True)]
    return data, before, after, numbers[0] if numbers else 0.0  # no number: nothing is padded


def _clip_bound(operator: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Callable[..., relax.Expr]:
    return lambda x, bound: operator(x, relax.const(bound, "float32") if isinstance(bound, float) else bound)


def _pad(data: relax.Expr, before: list[int], after: list[int], fill: float) -> relax.Expr:
    widths = [width for pair in zip(before, after, strict=True) for width in pair]
    return relax.op.nn.pad(data, widths, "constant", fill)


_CANDIDATES = {
    "maximum": (_clip_bound(relax.op.maximum), topi.maximum, _two_operands),
    "minimum": (_clip_bound(relax.op.minimum), topi.minimum, _two_operands),
    "pad": (_pad, topi.nn.pad, _padding),
}


def _find(function: tirx.PrimFunc, node_type: type) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(function.body, lambda node: found.append(node) if isinstance(node, node_type) else None)
    return found


def _numbers(function: tirx.PrimFunc) -> list[float]:
    return [float(node.value) for node in _find(function, tirx.FloatImm)]


def _offset(index: tirx.Expr) -> int | None:
    """``before`` of the index expression ``i - before`` (or ``i``), None for anything else."""
    if isinstance(index, tirx.Var):
        return 0
    if isinstance(index, tirx.Sub) and isinstance(index.a, tirx.Var) and isinstance(index.b, tirx.IntImm):
        return int(index.b)
    return None


def _loop_nest(build: Callable[..., Any], *operands: Any) -> tirx.PrimFunc:
    builder = relax.BlockBuilder()
    call = builder.call_te(build, *operands)
    return builder.get()[call.args[0]]
