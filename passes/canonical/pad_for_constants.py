"""A tensor that is joined with constants is padded, and the constants are added."""

import numpy as np
import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class PadForConstants:
    """Write ``concat`` of one tensor and constants, a class token for one, as ``nn.pad`` and ``add``.

    Where they have fewer elements than the tensor. Two constants that are added one after the other, such as the token
    and the embedding of positions, become one.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _pad)


def _pad(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    name = operator_name(value)
    padded = _padded(value) if name == "relax.concat" else _added(graph, value) if name == "relax.add" else None
    return None if padded is None else {var: padded}


def _padded(call: relax.Call) -> relax.Expr | None:
    fields = list(call.args[0].fields) if isinstance(call.args[0], relax.Tuple) else []
    constants = [array(field) for field in fields]
    (at, *others) = [i for i, constant in enumerate(constants) if constant is None] or [0, 0]
    if others or len(fields) < 2 or str(call.ty.dtype) != "float32":
        return None
    axis = int(call.attrs.axis) % len(shape(call))
    extents = [shape(field)[axis] for field in fields]
    if sum(extents) > 2 * extents[at]:
        return None
    widths = [0] * (2 * len(shape(call)))
    widths[2 * axis], widths[2 * axis + 1] = sum(extents[:at]), sum(extents[at + 1 :])
    parts = [np.zeros(shape(fields[at]), "float32") if constant is None else constant for constant in constants]
    padded, constant = relax.op.nn.pad(fields[at], widths), np.concatenate(parts, axis)
    return relax.op.add(padded, relax.const(constant)) if constant.any() else padded


def _added(graph: Graph, call: relax.Call) -> relax.Expr | None:
    constants = [array(arg) for arg in call.args]
    for operand, constant in zip(call.args, constants[::-1], strict=True):
        inner = graph.sole_call(operand, "relax.add")
        if constant is None or inner is None or shape(inner) != shape(call) or constant.dtype != np.float32:
            continue
        for data, other in (list(inner.args), list(inner.args)[::-1]):
            summand = array(other)
            if (
                summand is not None
                and array(data) is None
                and shape(data) == shape(call)
                and min(constant.size, summand.size) > 1
            ):
                return relax.op.add(data, relax.const(summand + constant))
    return None
