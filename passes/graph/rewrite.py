"""Rewriting of a module's main function, binding by binding: what the canonicalization passes have in common."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator


class Graph:
    """The bindings of a module's main function, to look up what defines a variable and whether it has other users.

    Parameters
    ----------
    mod : tvm.IRModule
        Its ``main`` is in A-normal form (as the block builder makes it): each call is bound to a variable.

    Attributes
    ----------
    values : dict of relax.Var to relax.Expr
    readers : dict of relax.Var to list of relax.Var
        Whose values read it; without an entry, none.
    outputs : set of relax.Var
    """

    def __init__(self, mod: tvm.IRModule):
        function = mod["main"]
        self.mod = mod
        self.values = {binding.var: binding.value for block in function.body.blocks for binding in block.bindings}
        self.outputs = variables(function.body.body)
        self.readers: dict[relax.Var, list[relax.Var]] = {}
        for var, value in self.values.items():
            for read in variables(value):
                self.readers.setdefault(read, []).append(var)

    def call(self, expr: relax.Expr, *operators: str) -> relax.Call | None:
        """The call that defines ``expr``, if ``expr`` is a variable bound to a call of one of ``operators``."""
        value = self.values.get(expr) if isinstance(expr, relax.Var) else None
        return value if operator_name(value) in operators else None

    def sole_call(self, expr: relax.Expr, *operators: str) -> relax.Call | None:
        """As ``call``, and ``expr`` has one user only: its definition may change without anybody else noticing."""
        call = self.call(expr, *operators)
        if call is None or len(self.readers.get(expr, ())) + (expr in self.outputs) != 1:
            return None
        return call


def emit_named(builder: relax.BlockBuilder, expr: relax.Expr, name: str) -> relax.Var:
    """Bind an expression to a variable of just that name, which `BlockBuilder.emit` would change where it has dots."""
    expr = builder.normalize(expr)
    var = relax.DataflowVar(name, expr.ty)
    builder.emit_normalized(relax.VarBinding(var, expr))
    return var


NewValues = dict[relax.Var, relax.Expr]  # of bindings, by their variables
Rule = Callable[[Graph, relax.Var, relax.Expr], NewValues | None]


def rewrite(mod: tvm.IRModule, rule: Rule) -> tvm.IRModule:
    """Apply a rule to every binding until it applies nowhere.

    Parameters
    ----------
    mod : tvm.IRModule
    rule : callable (graph, var, value) -> NewValues or None
        New values of bindings (of ``var``, and of those it alone uses), or None where the rule does not apply. A value
        may be a nested expression, a variable or a constant. Variables keep their names.

    Returns
    -------
    tvm.IRModule
        Without the bindings and functions that nothing uses any more.
    """
    mod = _remove_dead_code(mod)  # a dead user would keep a rule from applying
    while True:
        graph, values = Graph(mod), NewValues()
        for var, value in graph.values.items():
            replacement = rule(graph, var, value)
            if replacement and values.keys().isdisjoint(replacement) and not _is_stale(graph, var, replacement, values):
                values.update(replacement)
        if not values:
            return mod
        mod = _remove_dead_code(relax.transform.CanonicalizeBindings()(replace_values(mod, values)))


def _is_stale(graph: Graph, var: relax.Var, replacement: NewValues, values: NewValues) -> bool:
    """Whether a rule looked through bindings that have new values: what it found may be in those already."""
    kept = set[relax.Var]().union(*map(variables, replacement.values()))
    pending, seen = [var], set[relax.Var]()
    while pending:
        for read in variables(graph.values[pending.pop()]) - kept - seen:
            if read in values:
                return True
            seen.add(read)
            if read in graph.values:
                pending.append(read)
    return False


def operator_name(expr: relax.Expr | None) -> str | None:
    """``relax.nn.conv2d`` for a call of that operator; None for everything that is not an operator call."""
    return expr.op.name if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op) else None


def array(expr: relax.Expr) -> np.ndarray | None:
    """The value of a constant; None for everything else."""
    return expr.value.numpy() if isinstance(expr, tvm.ir.GenericConst) else None


def shape(expr: relax.Expr) -> tuple[int, ...]:
    """The static shape of a tensor expression."""
    return ints(expr.ty.shape)


def ints(values: Iterable[int]) -> tuple[int, ...]:
    """TVM's integers as Python's."""
    return tuple(int(value) for value in values)


def transposed_axes(call: relax.Call) -> tuple[int, ...]:
    """The operand's axes in the order that a ``permute_dims`` gives them, none of them negative."""
    rank = len(shape(call))
    axes = range(rank)[::-1] if call.attrs.axes is None else ints(call.attrs.axes)
    return tuple(axis % rank for axis in axes)


def variables(expr: relax.Expr) -> set[relax.Var]:
    """The variables that an expression reads."""
    found: set[relax.Var] = set()
    relax.analysis.post_order_visit(expr, lambda node: found.add(node) if isinstance(node, relax.Var) else None)
    return found


def replace_values(mod: tvm.IRModule, values: NewValues) -> tvm.IRModule:
    """The module with new values of bindings: see `rewrite`."""
    replaced = tvm.IRModule(mod.functions, attrs=mod.attrs)
    replaced["main"] = _Replacer(mod, values).visit_expr(mod["main"])
    return replaced


def _remove_dead_code(mod: tvm.IRModule) -> tvm.IRModule:
    return relax.transform.DeadCodeElimination(["main"])(mod)


@mutator
class _Replacer(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, values: NewValues) -> None:
        super().__init__(mod)
        self.values = values
        self._names = {binding.var.name for block in mod["main"].body.blocks for binding in block.bindings}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = self.values.get(binding.var)
        if isinstance(value, relax.Call):
            binding = relax.VarBinding(binding.var, self._bind_operands(value, binding.var.name))
        elif value is not None:
            binding = relax.VarBinding(binding.var, value)
        super().visit_var_binding_(binding)

    def _bind_operands(self, call: relax.Call, name: str) -> relax.Call:
        """Bind the calls nested in a new value, to name them after its variable."""
        operands = [self._bound(operand, name) for operand in call.args]
        return tvm.ir.Call(call.op, operands, call.attrs, call.ty_args)

    def _bound(self, operand: relax.Expr, name: str) -> relax.Expr:
        if isinstance(operand, relax.Tuple) and any(isinstance(field, relax.Call) for field in operand.fields):
            return relax.Tuple([self._bound(field, f"{name}.{i}") for i, field in enumerate(operand.fields)])
        if not isinstance(operand, relax.Call):
            return operand
        value = self.builder_.normalize(self.visit_expr(self._bind_operands(operand, name)))
        operator = (operator_name(operand) or "").split(".")[-1]
        var = relax.DataflowVar(name if name.endswith(operator) else self._unused(f"{name}.{operator}"), value.ty)
        self.builder_.emit_normalized(relax.VarBinding(var, value))
        return var

    def _unused(self, name: str) -> str:
        """The name, with a number where there is another of that name."""
        numbered = (f"{name}_{count}" if count else name for count in itertools.count())
        found = next(each for each in numbered if each not in self._names)
        self._names.add(found)
        return found
