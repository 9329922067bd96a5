"""Upper bounds of activations, which are scaled with the channels that they bound."""

from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax

from ..graph.network import Network
from ..graph.rebuild import rebuild
from ..graph.rewrite import emit_named


def upper_bounds(net: Network) -> dict[int, np.ndarray]:
    """Of each node that bounds its channels from above, the bounds (C,)."""
    found = {i: node.constant.reshape(-1) for i, node in enumerate(net.nodes) if node.op == "minimum"}
    for i, node in enumerate(net.nodes):
        if node.op == "clip" and len(node.shape) in (2, 4) and np.isfinite(high := float(node.expr.args[2].value)):
            found[i] = np.full(node.shape[1], high, np.float32)
    return found


def with_scaled_bounds(mod: tvm.IRModule, net: Network, factors: Mapping[int, np.ndarray]) -> tvm.IRModule:
    """The module with upper bounds multiplied by factors (C,), of each node that `upper_bounds` names.

    clip(x, 0, 6) of a channel that is scaled by f becomes clip(x, 0, 6 f): a relu, and a minimum with the bounds of all
    channels. That is no operator in integers: the range of the quantized tensor ends there, or before.
    """
    bounds = {i: (high * factors[i]).astype(np.float32) for i, high in upper_bounds(net).items() if i in factors}
    bounds = {i: high for i, high in bounds.items() if (factors[i] != 1).any()}
    if not bounds:
        return mod

    def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
        node = net.nodes[i]
        if node.op == "input":
            return expr
        if i in bounds:
            high = bounds[i].reshape(1, -1, *(1,) * (len(node.shape) - 2))
            if node.op == "minimum":
                expr = relax.op.minimum(expr.args[0], relax.const(high))
            elif (high == high.flat[0]).all():
                expr = relax.op.clip(expr.args[0], 0, float(high.flat[0]))
            else:
                rectified = emit_named(builder, relax.op.nn.relu(expr.args[0]), f"{node.name}_rectified")
                expr = relax.op.minimum(rectified, relax.const(high))
        return emit_named(builder, expr, node.name)

    return rebuild(mod, net, bind)
