"""Average pooling less what it pools, in place of attention: a sum, scaled by a depthwise convolution."""

import numpy as np
import tvm
from tvm import relax

from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class RecoverPoolingMixer:
    """Write ``avg_pool2d(x) - x``, the token mixer of PoolFormer (arXiv 2111.11418), as ``avg_pool2d(x) + (-x)``.

    A constant per channel that multiplies this difference becomes a depthwise convolution of one pixel: there is no
    layer in front of it that could take it up.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) == "relax.subtract":
        total = _sum(graph, value)
        return None if total is None else {var: total}
    if operator_name(value) == "relax.multiply":
        scaled = _scaled(graph, value)
        return None if scaled is None else {var: scaled}
    return None


def _sum(graph: Graph, call: relax.Call) -> relax.Expr | None:
    pool = graph.call(call.args[0], "relax.nn.avg_pool2d")
    if pool is None or not pool.args[0].same_as(call.args[1]):
        return None
    return relax.op.add(call.args[0], relax.op.negative(call.args[1]))


def _scaled(graph: Graph, call: relax.Call) -> relax.Expr | None:
    for data, other in (list(call.args), list(call.args)[::-1]):
        total, factors = graph.call(data, "relax.add"), array(other)
        if total is None or factors is None or shape(call) != shape(data) or factors.ndim > 4:
            continue
        if (
            graph.call(total.args[0], "relax.nn.avg_pool2d") is None
            or graph.call(total.args[1], "relax.negative") is None
        ):
            continue
        channels = shape(data)[1]
        if factors.size == channels == factors.reshape((1,) * (4 - factors.ndim) + factors.shape).shape[1]:
            weight = relax.const(np.ascontiguousarray(factors.reshape(channels, 1, 1, 1)))
            return relax.op.nn.conv2d(data, weight, groups=channels)
    return None
