"""Remove operators that return their operand unchanged."""

import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class RemoveIdentities:
    """Remove dropout, and reshapes, broadcasts, slices, pads, casts, ... that change nothing.

    A choice by a constant that is true or false everywhere is what it chooses. Zeros that are added, as masks that mask
    nothing, go.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _remove)


# Operators that are the identity where the shape stays the same (reading backwards is the one exception, see below)
_SAME_SHAPE = {
    "relax.broadcast_to",
    "relax.expand_dims",
    "relax.flatten",
    "relax.reshape",
    "relax.squeeze",
    "relax.strided_slice",
}


def _remove(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if isinstance(value, relax.TupleGetItem):
        dropout = graph.call(value.tuple_value, "relax.nn.dropout")
        return {var: dropout.args[0]} if dropout is not None and value.index == 0 else None
    name = operator_name(value)
    if name == "relax.concat":
        fields = list(value.args[0].fields) if isinstance(value.args[0], relax.Tuple) else []
        return {var: fields[0]} if len(fields) == 1 else None
    if name == "relax.where":
        return _without_choice(var, value)
    if name in ("relax.add", "relax.subtract"):
        return _without_zeros(graph, var, value)
    if name == "relax.permute_dims":
        axes = value.attrs.axes
        identity = axes is not None and [int(axis) for axis in axes] == list(range(len(axes)))
    elif name == "relax.nn.pad":
        identity = not any(int(width) for width in value.attrs.pad_width)
    elif name == "relax.astype":
        identity = value.ty.dtype == value.args[0].ty.dtype
    elif name == "relax.strided_slice" and any(int(stride) < 0 for arg in value.args[4:] for stride in arg):
        identity = False
    else:
        identity = name in _SAME_SHAPE and shape(value) == shape(value.args[0])
    return {var: value.args[0]} if identity else None


def _without_zeros(graph: Graph, var: relax.Var, call: relax.Call) -> NewValues | None:
    """A layer's bias of zeros stays: refinement may make use of it."""
    data, other = call.args if call.op.name == "relax.subtract" or array(call.args[0]) is None else call.args[::-1]
    zeros, operator = array(other), operator_name(graph.values.get(data)) or ""
    if zeros is None or zeros.any() or shape(data) != shape(call):
        return None
    of_layer = operator.startswith(("relax.nn.conv", "relax.matmul"))
    return {var: data} if not of_layer or all(array(arg) is None for arg in graph.values[data].args) else None


def _without_choice(var: relax.Var, call: relax.Call) -> NewValues | None:
    chosen = array(call.args[0])
    if chosen is None or not chosen.size or chosen.min() != chosen.max():
        return None
    data = call.args[1 if chosen.flat[0] else 2]
    return {var: data} if shape(data) == shape(call) else None
