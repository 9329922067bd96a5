"""RMS and L2 normalization, written as squares, a sum and a root, become one operator."""

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ...graph.pointwise import number
from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape
from .one_axis import along_axis, over_last_axis, over_one_axis, squared


@relax_pass
class RecoverRMSNorm:
    """Write ``x / sqrt(mean(x^2) + epsilon)`` over one axis as ``nn.rms_norm`` (arXiv 1910.07467), its factors inside.

    L2 normalization is that with the factor ``1 / sqrt(n)``: ``x / max(sqrt(sum(x^2)), least)``, as torch writes it, or
    ``x / sqrt(max(sum(x^2), least))``, as TensorFlow does. What its norm is bounded by must be so little (1e-5) that it
    only keeps zeros from being divided by zero: then a summand under the root does the same. ``1 / sqrt`` and ``rsqrt``
    as a factor, too. Constants that multiply the result along that axis, and nothing else reads it, become its gamma.
    An axis that is not the last one is made the last one by a transpose, and the result is transposed back.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


_LEAST = 1e-5  # of a norm
_TINY = float(np.finfo("float32").tiny)
_ROOTS = ("relax.sqrt", "relax.power")


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    name = operator_name(value)
    if name not in ("relax.divide", "relax.multiply"):
        return None
    found = _normalization(graph, value)
    if found is None and name == "relax.multiply":
        found = _scaled(graph, value)
    return None if found is None else {var: found}


@dataclass(frozen=True)
class _Norm:
    """The root of the mean, or the sum, of squares along an axis, and of what is added under the root."""

    source: relax.Var
    axis: int
    is_sum: bool
    epsilon: float

    def normalized(self) -> relax.Expr:
        """What is divided by it."""
        count = shape(self.source)[self.axis]
        gamma = np.full(count, count**-0.5 if self.is_sum else 1, "float32")
        epsilon = max(self.epsilon / count, _TINY) if self.is_sum and self.epsilon else self.epsilon
        return over_last_axis(
            self.source, self.axis, lambda x: relax.op.nn.rms_norm(x, relax.const(gamma), axes=[-1], epsilon=epsilon)
        )


def _normalization(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """A tensor over its norm, or times 1 over it."""
    divides = call.op.name == "relax.divide"
    for x, other in (list(call.args), list(call.args)[::-1])[: 1 if divides else 2]:
        norm = _norm(graph, other) if divides else _inverse(graph, other)
        if norm is not None and norm.source == x:
            return norm.normalized()
    return None


def _inverse(graph: Graph, expr: relax.Expr) -> _Norm | None:
    divided = graph.call(expr, "relax.divide")
    if divided is not None and number(divided.args[0]) == 1:
        return _norm(graph, divided.args[1])
    root = graph.call(expr, "relax.rsqrt")
    return None if root is None else _squares(graph, root.args[0])


def _norm(graph: Graph, expr: relax.Expr) -> _Norm | None:
    """Of a root, perhaps bounded from below by next to nothing, and broadcast."""
    while (spread := graph.call(expr, "relax.broadcast_to", "relax.reshape")) is not None:
        if spread.op.name == "relax.reshape" and shape(spread) != shape(spread.args[0]):
            return None
        expr = spread.args[0]
    if (bounded := _bounded(graph, expr)) is not None:
        norm = _norm(graph, bounded[0])
        if norm is None or not norm.is_sum or norm.epsilon > _LEAST**2 or bounded[1] > _LEAST:
            return None
        return _Norm(norm.source, norm.axis, True, max(norm.epsilon, bounded[1] ** 2, _TINY))
    root = graph.call(expr, *_ROOTS)
    if root is None or (root.op.name == "relax.power" and number(root.args[1]) != 0.5):
        return None
    return _squares(graph, root.args[0])


def _squares(graph: Graph, expr: relax.Expr) -> _Norm | None:
    """Of what is under the root."""
    if (bounded := _bounded(graph, expr)) is not None:
        norm = _squares(graph, bounded[0])
        if norm is None or not norm.is_sum or norm.epsilon or bounded[1] > _LEAST**2:
            return None
        return _Norm(norm.source, norm.axis, True, bounded[1])
    if (total := graph.call(expr, "relax.add")) is not None:
        for operand, other in (list(total.args), list(total.args)[::-1]):
            norm, epsilon = _squares(graph, operand), number(other)
            if norm is not None and not norm.epsilon and epsilon is not None and 0 <= epsilon < np.inf:
                return _Norm(norm.source, norm.axis, norm.is_sum, float(epsilon))
        return None
    for operator in ("relax.sum", "relax.mean"):
        if (reduced := over_one_axis(graph, expr, operator)) is not None:
            base = squared(graph, reduced[0])
            magnitude = None if base is None else graph.call(base, "relax.abs")
            base = base if magnitude is None else magnitude.args[0]
            if isinstance(base, relax.Var):
                return _Norm(base, reduced[1], operator == "relax.sum", 0.0)
    return None


def _bounded(graph: Graph, expr: relax.Expr) -> tuple[relax.Expr, float] | None:
    """What has a lower bound alone, which is more than 0, and the bound."""
    clip = graph.call(expr, "relax.clip")
    if clip is None:
        return None
    low, high = (float(arg.value) for arg in clip.args[1:])
    return (clip.args[0], low) if 0 < low < high == np.inf else None


def _scaled(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """A constant along the last axis, as a factor of a normalization that nothing else reads."""
    for operand, other in (list(call.args), list(call.args)[::-1]):
        norm, constant = graph.sole_call(operand, "relax.nn.rms_norm"), array(other)
        if norm is None or constant is None or shape(call) != shape(operand):
            continue
        rank, gamma = len(shape(norm)), array(norm.args[1])
        values = along_axis(constant, shape(norm), rank - 1)
        if gamma is None or values is None or [int(axis) % rank for axis in norm.attrs.axes] != [rank - 1]:
            continue
        scaled = relax.const(gamma * values)
        return relax.op.nn.rms_norm(norm.args[0], scaled, axes=[-1], epsilon=float(norm.attrs.epsilon))
    return None
