"""Products of the slices of one tensor by equal matrices as one product."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, array, emit_named, ints, operator_name, shape

_COVERED = 0.75  # of the tensor, at least, by its slices: little is multiplied in vain


@relax_pass
class JoinProducts:
    """Multiply a tensor as a whole whose slices meet the same weights one by one, and slice the product.

    Recurrent cells that an exporter wrote out step by step multiply each step of a sequence by the same matrix: a layer
    of few rows for each step, with weights of its own. A bias that is the same for all is added to the whole.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        joined = _joined(Graph(mod))
        if not joined:
            return mod
        after = tvm.IRModule(mod.functions, attrs=mod.attrs)
        after["main"] = _Joiner(mod, joined).visit_expr(mod["main"])
        return relax.transform.DeadCodeElimination(["main"])(after)


_Key = tuple[relax.Var, int, bytes, bytes]


@dataclass(frozen=True)
class _Product:
    """By (K, N) weights, of all ``source[..., begin:end, ..., :]``, a slice along an axis that is not the last."""

    source: relax.Var
    axis: int
    begin: int
    end: int
    weights: relax.Expr
    bias: relax.Expr | None = None

    @property
    def key(self) -> _Key:
        """Equal for those that may be one."""
        return self.source, self.axis, _digest(self.weights), _digest(self.bias)

    def whole(self) -> relax.Expr:
        """The product of all slices, (*leading axes of the source, N)."""
        *leading, depth = shape(self.source)
        product = relax.op.matmul(relax.op.reshape(self.source, (int(np.prod(leading)), depth)), self.weights)
        if self.bias is not None:
            product = relax.op.add(product, self.bias)
        return relax.op.reshape(product, (*leading, shape(self.weights)[1]))


def _joined(graph: Graph) -> dict[relax.Var, _Product]:
    """By what they are bound to, the products that are to be parts of others."""
    found: dict[relax.Var, _Product] = {}
    for var, value in graph.values.items():
        if operator_name(value) == "relax.matmul" and (product := _product(graph, value)) is not None:
            found[var] = product
        elif operator_name(value) == "relax.add" and value.args[0] in found and _is_bias(graph, value):
            found[var] = replace(found.pop(value.args[0]), bias=value.args[1])
    alike: dict[_Key, list[relax.Var]] = defaultdict(list)
    for var, product in found.items():
        alike[product.key].append(var)
    return {var: found[var] for group in alike.values() if _worthwhile([found[v] for v in group]) for var in group}


def _product(graph: Graph, matmul: relax.Call) -> _Product | None:
    data, weights = matmul.args
    reshaped = graph.call(data, "relax.reshape")
    part = graph.call(data if reshaped is None else reshaped.args[0], "relax.strided_slice")
    if part is None or array(weights) is None or not isinstance(part.args[0], relax.Var):
        return None
    axes, (begin, *_), (end, *_), *given = (ints(arg) for arg in part.args[1:])
    *leading, depth = shape(part)
    if len(axes) > 1 or given not in ([], [(1,)]) or axes[0] % len(shape(part)) == len(leading):
        return None
    if shape(weights)[:-1] != (depth,) or shape(data) != (int(np.prod(leading)), depth):
        return None
    return _Product(part.args[0], axes[0] % len(shape(part)), begin, end, weights)


def _is_bias(graph: Graph, add: relax.Call) -> bool:
    """Whether an addition to a product that nothing else reads adds the same to all rows."""
    constant = array(add.args[1])
    alone = graph.sole_call(add.args[0], "relax.matmul") is not None
    return alone and constant is not None and constant.size == shape(add)[-1] == constant.shape[-1]


def _worthwhile(group: list[_Product]) -> bool:
    places = {place for product in group for place in range(product.begin, product.end)}
    return len(group) > 1 and len(places) >= _COVERED * shape(group[0].source)[group[0].axis]


def _digest(constant: relax.Expr | None) -> bytes:
    values = None if constant is None else array(constant)
    return b"" if values is None else hashlib.sha256(np.ascontiguousarray(values)).digest()


@mutator
class _Joiner(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, joined: dict[relax.Var, _Product]) -> None:
        super().__init__(mod)
        self.joined = joined
        self.wholes: dict[_Key, relax.Var] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if (product := self.joined.get(binding.var)) is not None:
            binding = relax.VarBinding(binding.var, self._part(product, binding.var))
        super().visit_var_binding_(binding)

    def _part(self, product: _Product, var: relax.Var) -> relax.Expr:
        if product.key not in self.wholes:
            moved = replace(product, source=self.visit_expr(product.source))
            self.wholes[product.key] = self._emitted(moved.whole(), var.name)
        whole = self.wholes[product.key]
        part = relax.op.strided_slice(whole, [product.axis], [product.begin], [product.end], [1])
        return relax.op.reshape(emit_named(self.builder_, part, f"{var.name}.strided_slice"), shape(var))

    def _emitted(self, call: relax.Call, name: str) -> relax.Var:
        """Bound, with the calls nested in it, to names after the first product."""
        operands = [self._emitted(arg, name) if isinstance(arg, relax.Call) else arg for arg in call.args]
        call = relax.Call(call.op, operands, call.attrs, call.ty_args)
        return emit_named(self.builder_, call, f"{name}.{call.op.name.split('.')[-1]}")
