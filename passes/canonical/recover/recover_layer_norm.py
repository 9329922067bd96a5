"""Layer normalization, written as means, differences and a root, becomes one operator."""

import math
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ...graph.pointwise import number
from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape, transposed_axes
from .one_axis import along_axis, over_last_axis, over_one_axis, squared


@relax_pass
class RecoverLayerNorm:
    """Write normalization over one axis as ``nn.layer_norm`` (arXiv 1607.06450), its factors and summands inside.

    That is ``(x - mean(x)) / sqrt(variance + epsilon)``; ``1 / sqrt`` and ``rsqrt`` as a factor, too. The variance is
    ``variance(x)``, the mean of ``(x - mean(x))^2``, or that of ``x^2`` less the square of the mean. Constants that
    multiply the result, or are added to it, along that axis become its gamma and beta. So does what TensorFlow writes,
    ``x * factor + (beta - mean(x) * factor)`` with the factor ``gamma / sqrt(variance + epsilon)``. An axis that is not
    the last one is made the last one by a transpose, and the result is transposed back.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    rules = _RULES.get(operator_name(value) or "", ())
    return next(({var: found} for rule in rules if (found := rule(graph, value)) is not None), None)


@dataclass(frozen=True)
class _Centered:
    """A tensor less its means along an axis; or what depends on these alone, such as its variance."""

    source: relax.Var
    axis: int

    def normalized(self, gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> relax.Expr:
        """Layer normalization; gamma and beta (C,)."""
        constants = (relax.const(gamma), relax.const(beta))
        return over_last_axis(
            self.source, self.axis, lambda x: relax.op.nn.layer_norm(x, *constants, axes=[-1], epsilon=epsilon)
        )

    @property
    def count(self) -> int:
        """Extent of the axis."""
        return shape(self.source)[self.axis]

    def along(self, constant: np.ndarray) -> np.ndarray | None:
        """(C,) of a constant that is broadcast to the source, and differs along the axis alone; else None."""
        return along_axis(constant, shape(self.source), self.axis)


_Factor = tuple[_Centered, np.ndarray, float]  # whose variance, gamma, epsilon


def _normalization(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """Deviations over, or times, what is made of their root mean square."""
    divides = call.op.name == "relax.divide"
    for deviation, other in (list(call.args), list(call.args)[::-1])[: 1 if divides else 2]:
        of = _deviation(graph, deviation)
        found = _root(graph, other) if divides else _inverse(graph, other)
        if of is not None and found is not None and found[0] == of:
            return of.normalized(np.ones(of.count, "float32"), np.zeros(of.count, "float32"), found[1])
    return None


def _affine(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """``x * factor + (beta - mean(x) * factor)``; without beta ``x * factor - mean(x) * factor``."""
    pairs = (list(call.args), list(call.args)[::-1])[: 1 if call.op.name == "relax.subtract" else 2]
    for product, rest in pairs:
        if (scaled := graph.call(product, "relax.multiply")) is None:
            continue
        for x, factor in (list(scaled.args), list(scaled.args)[::-1]):
            found = _factor(graph, factor)
            if found is None or found[0].source != x:
                continue
            of, gamma, epsilon = found
            beta = _without_mean(graph, call, rest, of, factor)
            if beta is not None:
                return of.normalized(gamma, beta, epsilon)
    return None


def _factor(graph: Graph, expr: relax.Expr) -> _Factor | None:
    """``gamma / sqrt(variance + epsilon)``, or without gamma."""
    if (found := _inverse(graph, expr)) is not None:
        return found[0], np.ones(found[0].count, "float32"), found[1]
    product = graph.call(expr, "relax.multiply")
    for root, other in () if product is None else (list(product.args), list(product.args)[::-1]):
        found, constant = _inverse(graph, root), array(other)
        if found is not None and constant is not None and (gamma := found[0].along(constant)) is not None:
            return found[0], gamma, found[1]
    return None


def _without_mean(
    graph: Graph, call: relax.Call, rest: relax.Expr, of: _Centered, factor: relax.Expr
) -> np.ndarray | None:
    """Beta of ``beta - mean(x) * factor``, which is added, or zeros of ``mean(x) * factor``, which is subtracted."""
    beta: np.ndarray | None = np.zeros(of.count, "float32")
    if call.op.name == "relax.add":
        difference = graph.call(rest, "relax.subtract")
        constant = None if difference is None else array(difference.args[0])
        if difference is None or constant is None:
            return None
        beta, rest = of.along(constant), difference.args[1]
    product = graph.call(rest, "relax.multiply")
    for mean, other in () if product is None else (list(product.args), list(product.args)[::-1]):
        if _mean(graph, mean) == of and (other == factor or _is_same(_factor(graph, other), _factor(graph, factor))):
            return beta
    return None


def _is_same(first: _Factor | None, second: _Factor | None) -> bool:
    if first is None or second is None:
        return False
    return first[::2] == second[::2] and np.array_equal(first[1], second[1])


def _scaled(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """A constant along its axis, as a factor or summand of a normalization that nothing else reads."""
    for operand, other in (list(call.args), list(call.args)[::-1]):
        moved, constant = graph.sole_call(operand, "relax.permute_dims"), array(other)
        norm = graph.sole_call(operand if moved is None else moved.args[0], "relax.nn.layer_norm")
        if norm is None or constant is None or shape(call) != shape(operand):
            continue
        rank = len(shape(norm))
        gamma, beta = (array(arg) for arg in norm.args[1:])
        if [int(axis) % rank for axis in norm.attrs.axes] != [rank - 1] or gamma is None or beta is None:
            continue
        axes = range(rank) if moved is None else transposed_axes(moved)
        values = _Centered(operand, list(axes).index(rank - 1)).along(constant)
        if values is None:
            continue
        gamma, beta = (gamma * values, beta * values) if call.op.name == "relax.multiply" else (gamma, beta + values)
        args = [norm.args[0], relax.const(gamma), relax.const(beta)]
        scaled = relax.op.nn.layer_norm(*args, axes=[-1], epsilon=float(norm.attrs.epsilon))
        return scaled if moved is None else relax.op.permute_dims(scaled, list(axes))
    return None


def _mean(graph: Graph, expr: relax.Expr) -> _Centered | None:
    """Of ``mean(x)`` along one axis, which stays."""
    return _over_one_axis(graph, expr, "relax.mean")


def _over_one_axis(graph: Graph, expr: relax.Expr, operator: str) -> _Centered | None:
    found = over_one_axis(graph, expr, operator)
    return None if found is None else _Centered(*found)


def _deviation(graph: Graph, expr: relax.Expr) -> _Centered | None:
    """Of ``x - mean(x)``."""
    difference = graph.call(expr, "relax.subtract")
    of = None if difference is None else _mean(graph, difference.args[1])
    return of if difference is not None and of is not None and of.source == difference.args[0] else None


def _variance(graph: Graph, expr: relax.Expr) -> _Centered | None:
    """Of ``variance(x)``, ``mean((x - mean(x))^2)`` or ``mean(x^2) - mean(x)^2``."""
    if (variance := _over_one_axis(graph, expr, "relax.variance")) is not None:
        return variance
    if (mean := _mean(graph, expr)) is not None:
        base = squared(graph, mean.source)
        of = None if base is None else _deviation(graph, base)
        return of if of is not None and of.axis == mean.axis else None
    difference = graph.call(expr, "relax.subtract")
    if difference is None:
        return None
    of_squares, base = _mean(graph, difference.args[0]), squared(graph, difference.args[1])
    of = None if base is None else _mean(graph, base)
    if of is None or of_squares is None or of_squares.axis != of.axis:
        return None
    return of if squared(graph, of_squares.source) == of.source else None


def _root(graph: Graph, expr: relax.Expr, operator: str = "relax.sqrt") -> tuple[_Centered, float] | None:
    """Whose variance, and epsilon, of ``sqrt(variance + epsilon)``."""
    root = graph.call(expr, operator)
    total = None if root is None else graph.call(root.args[0], "relax.add")
    for operand, other in () if total is None else (list(total.args), list(total.args)[::-1]):
        of, epsilon = _variance(graph, operand), number(other)
        if of is not None and epsilon is not None and 0 <= epsilon < math.inf:
            return of, float(epsilon)
    return None


def _inverse(graph: Graph, expr: relax.Expr) -> tuple[_Centered, float] | None:
    """The same of what is 1 over that root."""
    inverse = graph.call(expr, "relax.divide")
    if inverse is not None and number(inverse.args[0]) == 1:
        return _root(graph, inverse.args[1])
    return _root(graph, expr, "relax.rsqrt")


_RULES = {
    "relax.divide": (_normalization,),
    "relax.multiply": (_normalization, _scaled),
    "relax.add": (_affine, _scaled),
    "relax.subtract": (_affine,),
}
