"""Layer normalization, written as means, differences and a root, becomes one operator."""

import math

import numpy as np
import tvm
from tvm import relax

from ...graph.pointwise import number
from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class RecoverLayerNorm:
    """Write normalization over the last axis as ``nn.layer_norm`` (arXiv 1607.06450), its factors and summands inside.

    That is ``(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)``; ``1 / sqrt`` and ``rsqrt`` as a factor, too.
    Constants that multiply the result, or are added to it, along the last axis become its gamma and beta.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    name = operator_name(value)
    if name not in ("relax.divide", "relax.multiply", "relax.add"):
        return None
    found = None if name == "relax.add" else _normalization(graph, value)
    found = _scaled(graph, value) if found is None and name != "relax.divide" else found
    return None if found is None else {var: found}


def _normalization(graph: Graph, call: relax.Call) -> relax.Expr | None:
    operands = list(call.args)
    for deviation, other in (operands, operands[::-1])[: 1 if call.op.name == "relax.divide" else 2]:
        spread = _spread(graph, other, call.op.name == "relax.divide")
        source = _deviation(graph, deviation)
        if spread is None or source is None:
            continue
        square, epsilon = spread
        if _square(graph, square) == source:
            count = shape(source)[-1]
            ones, zeros = relax.const(np.ones(count, "float32")), relax.const(np.zeros(count, "float32"))
            return relax.op.nn.layer_norm(source, ones, zeros, axes=[-1], epsilon=epsilon)
    return None


def _scaled(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """A constant along the last axis, as a factor or summand of a normalization that nothing else reads."""
    for operand, other in (list(call.args), list(call.args)[::-1]):
        norm, constant = graph.sole_call(operand, "relax.nn.layer_norm"), array(other)
        if norm is None or constant is None or constant.dtype != np.float32 or shape(call) != shape(norm):
            continue
        gamma, beta = (array(arg) for arg in norm.args[1:])
        if [int(axis) for axis in norm.attrs.axes] not in ([-1], [len(shape(norm)) - 1]) or gamma is None:
            continue
        if constant.size not in (1, len(gamma)) or (constant.size > 1 and constant.shape[-1] != len(gamma)):
            continue
        of_channel = np.broadcast_to(constant.reshape(-1), gamma.shape)
        multiplies = call.op.name == "relax.multiply"
        gamma, beta = (gamma * of_channel, beta * of_channel) if multiplies else (gamma, beta + of_channel)
        args = [norm.args[0], relax.const(gamma), relax.const(beta)]
        return relax.op.nn.layer_norm(*args, axes=[-1], epsilon=float(norm.attrs.epsilon))
    return None


def _deviation(graph: Graph, expr: relax.Expr) -> relax.Var | None:
    """``x`` of ``x - mean(x)``."""
    difference = graph.call(expr, "relax.subtract")
    if difference is None:
        return None
    mean = graph.call(difference.args[1], "relax.mean")
    if mean is None or not _is_of_last_axis(mean) or mean.args[0] != difference.args[0]:
        return None
    return mean.args[0]


def _square(graph: Graph, expr: relax.Expr) -> relax.Var | None:
    """``x`` of ``(x - mean(x))^2``."""
    call = graph.call(expr, "relax.multiply", "relax.power")
    if call is None:
        return None
    base, other = call.args
    twice = number(other) == 2 if call.op.name == "relax.power" else other == base
    return _deviation(graph, base) if twice else None


def _spread(graph: Graph, expr: relax.Expr, divides: bool) -> tuple[relax.Expr, float] | None:
    """``y`` and ``epsilon`` of ``sqrt(mean(y) + epsilon)``; of what divides 1 by it, or multiplies, otherwise."""
    root = graph.call(expr, "relax.sqrt") if divides else graph.call(expr, "relax.rsqrt")
    if root is None and not divides:
        inverse = graph.call(expr, "relax.divide")
        if inverse is not None and number(inverse.args[0]) == 1:
            root = graph.call(inverse.args[1], "relax.sqrt")
    total = None if root is None else graph.call(root.args[0], "relax.add")
    if total is None:
        return None
    for operand, other in (list(total.args), list(total.args)[::-1]):
        mean, epsilon = graph.call(operand, "relax.mean"), number(other)
        if mean is not None and epsilon is not None and _is_of_last_axis(mean) and 0 <= epsilon < math.inf:
            return mean.args[0], float(epsilon)
    return None


def _is_of_last_axis(mean: relax.Call) -> bool:
    rank = len(shape(mean.args[0]))
    return bool(mean.attrs.keepdims) and [int(axis) % rank for axis in mean.attrs.axis or ()] == [rank - 1]
