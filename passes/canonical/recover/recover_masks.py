"""Masks of attention that choose between a score and a number become additions of a constant."""

import numpy as np
import tvm
from tvm import relax

from ...graph.pointwise import number
from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape

_EXCLUDES = -1e4  # what no score plus this has a share beside the others; float16's least number is -65504


@relax_pass
class RecoverMasks:
    """Write ``where(mask, x, low)`` in front of softmax as ``x + constant``: 0 where the mask is true, else ``low``.

    The mask and ``low``, far below all scores or -infinity, are constants. Each row has a score that stays. So it has
    where ``where(isnan(y), 0, y)`` follows the softmax ``y``, as PyTorch writes it for rows that a mask leaves nothing
    of: then that is ``y``.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.where":
        return None
    mask, *choices = value.args
    chosen = array(mask)
    if chosen is None:
        return {var: choices[1]} if _is_safe(graph, *value.args) else None
    if array(choices[0]) is not None:
        chosen, choices = ~chosen, choices[::-1]
    scores, low = choices[0], array(choices[1])
    if array(scores) is not None or low is None or low.dtype != np.float32 or low.max() > _EXCLUDES:
        return None
    if shape(scores) != shape(value) or not np.broadcast_to(chosen, shape(value)).any(axis=-1).all():
        return None
    if not _feeds_softmax(graph, var):
        return None
    constant = np.where(chosen, np.float32(0), low).astype("float32")
    return {var: relax.op.add(scores, relax.const(constant))}


def _is_safe(graph: Graph, test: relax.Expr, _instead: relax.Expr, shares: relax.Expr) -> bool:
    """Whether a choice tests for NaN what softmax makes of products; a constant added leaves each row a score."""
    is_nan, softmax = graph.call(test, "relax.isnan"), graph.call(shares, "relax.nn.softmax")
    if is_nan is None or softmax is None or not is_nan.args[0].same_as(shares):
        return False
    scores = softmax.args[0]
    if (masked := graph.call(scores, "relax.add")) is not None:
        constants = [constant for arg in masked.args if (constant := array(arg)) is not None]
        rows = [np.isfinite(np.broadcast_to(constant, shape(masked))).any(axis=-1) for constant in constants]
        if len(rows) != 1 or not rows[0].all():
            return False
        (scores,) = [arg for arg in masked.args if array(arg) is None]
    while (scaled := graph.call(scores, "relax.multiply", "relax.divide")) is not None and number(scaled.args[1]):
        scores = scaled.args[0]
    return graph.call(scores, "relax.matmul") is not None


def _feeds_softmax(graph: Graph, var: relax.Var) -> bool:
    """Whether softmax over the last axis alone reads a tensor, perhaps behind reshapes."""
    reads = []
    for user in graph.readers.get(var, ()):
        value = graph.values[user]
        name, last = operator_name(value), shape(var)[-1:]
        if name == "relax.nn.softmax":
            reads.append(int(value.attrs.axis) % len(shape(value)) == len(shape(value)) - 1)
        else:
            reads.append(name == "relax.reshape" and shape(value)[-1:] == last and _feeds_softmax(graph, user))
    return bool(reads) and all(reads)
