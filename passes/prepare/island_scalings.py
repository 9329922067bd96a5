"""Products with a constant for each channel between float operators and the layers that read them in integers."""

import numpy as np
import tvm
from tvm import relax

from ..graph.network import Network, Node
from ..graph.rebuild import rebuild
from ..graph.rewrite import array, emit_named, operator_name
from ..quantized.quantization_points import QuantizationPoints


def with_scalings(mod: tvm.IRModule, net: Network, points: QuantizationPoints) -> tvm.IRModule:
    """The module with products with ones behind all float operators that only layers read, in integers.

    Spectra, for one, have channels of which the largest is a thousand times the smallest: a scale for all of them
    leaves nothing of most. A float operator's channels can be scaled like a layer's, at the cost of this product.
    """
    wanted = {group.producers[0] for group in points.scale_groups if _is_scalable(net, group.producers)}
    if not wanted:
        return mod

    def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
        node = net.nodes[i]
        if node.op == "input":
            return expr
        var = emit_named(builder, expr, node.name)
        if i not in wanted:
            return var
        ones = np.ones((1, node.shape[1], *[1] * (len(node.shape) - 2)), np.float32)
        return emit_named(builder, relax.op.multiply(var, relax.const(ones)), f"{node.name}_scaled")

    return rebuild(mod, net, bind)


def without_idle_scalings(mod: tvm.IRModule, net: Network) -> tvm.IRModule:
    """The module without those that are still ones."""
    idle = {i for i, node in enumerate(net.nodes) if (found := scaling(node)) is not None and (found == 1).all()}

    def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
        node = net.nodes[i]
        if i in idle:
            return expr.args[0]
        return expr if node.op == "input" else emit_named(builder, expr, node.name)

    return rebuild(mod, net, bind) if idle else mod


def scaling(node: Node) -> np.ndarray | None:
    """The constant, float32 (1, C, 1, ...), of a product in float with one for each channel; None for other nodes."""
    if node.op != "float" or operator_name(node.expr) != "relax.multiply" or len(node.shape) not in (2, 4):
        return None
    constant = array(node.expr.args[1])
    if (
        constant is None
        or constant.dtype != np.float32
        or constant.shape != (1, *node.shape[1:2], *[1] * (len(node.shape) - 2))
    ):
        return None
    return constant


def _is_scalable(net: Network, producers: tuple[int, ...]) -> bool:
    (i, *others) = producers
    node = net.nodes[i]
    if others or node.op != "float" or node.left_float or len(node.shape) not in (2, 4) or i in net.outputs:
        return False
    if scaling(node) is not None:  # takes factors itself
        return False
    return all(net.nodes[user].op in ("conv2d", "dense") for user in net.users[i])
