"""Merge maximum, minimum, clip and relu in a row into one clip or relu."""

import math

import tvm
from tvm import relax

from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class RecoverClip:
    """Write everything that bounds a tensor from below, above or both by numbers as ``nn.relu`` or ``clip``.

    Of float32 tensors. A missing bound is infinite; bounds (0, infinity) are a relu; bounds without effect are removed.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


_BOUNDING = ("relax.maximum", "relax.minimum", "relax.clip", "relax.nn.relu")


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) not in _BOUNDING or str(value.ty.dtype) != "float32":
        return None
    if (bounded := _bounds(value)) is None:
        return None
    data, low, high = bounded
    inner_call = graph.sole_call(data, *_BOUNDING)
    inner = None if inner_call is None else _bounds(inner_call)
    if inner is not None:
        data, inner_low, inner_high = inner
        low, high = (min(max(bound, low), high) for bound in (inner_low, inner_high))
    if (low, high) == (-math.inf, math.inf):
        return {var: data}
    operator = "relax.nn.relu" if (low, high) == (0, math.inf) else "relax.clip"
    if inner is None and operator == operator_name(value):
        return None
    return {var: relax.op.nn.relu(data) if operator == "relax.nn.relu" else relax.op.clip(data, low, high)}


def _bounds(call: relax.Call) -> tuple[relax.Expr, float, float] | None:
    """(data, low, high); None where the bound is not one number."""
    name = operator_name(call)
    if name == "relax.nn.relu":
        return call.args[0], 0.0, math.inf
    if name == "relax.clip":
        low, high = (float(arg.value) for arg in call.args[1:])
        return call.args[0], min(low, high), high  # ONNX: the upper bound wins
    data, operand = call.args if array(call.args[0]) is None else reversed(call.args)
    bounds = array(operand)
    if bounds is None or bounds.min() != bounds.max() or shape(data) != shape(call):
        return None
    bound = float(bounds.flat[0])
    return (data, bound, math.inf) if name == "relax.maximum" else (data, -math.inf, bound)
