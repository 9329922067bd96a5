"""Products with a constant for each channel between what takes no factors and the layers that read it in integers."""

import numpy as np
import tvm
from tvm import relax

from ..graph.network import PASS_THROUGH, Network, Node
from ..graph.rebuild import rebuild
from ..graph.rewrite import array, emit_named, operator_name
from ..quantized.quantization_points import QuantizationPoints, ScaleGroup


def with_scalings(mod: tvm.IRModule, net: Network, points: QuantizationPoints) -> tvm.IRModule:
    """The module with products with ones behind what takes no factors itself and only layers read, in integers.

    These are inputs of the network, float operators, and of what is joined pointwise functions. Measured values and
    spectra, for two, have channels of which the largest is a thousand times the smallest: a scale for all of them
    leaves nothing of most. Channels of inputs and of float operators can be scaled like a layer's, at the cost of this
    product; those of a pointwise function all alike, which costs nothing, as its table has them.
    """
    wanted = {i for group in points.scale_groups for i in _scalable(net, points, group)}
    if not wanted:
        return mod

    def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
        node = net.nodes[i]
        var = expr if node.op == "input" else emit_named(builder, expr, node.name)
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
    """The constant, float32 (1, C, 1, ...), of a product with one for each channel; None for other nodes.

    Of a pointwise function all are equal.
    """
    if node.op not in ("float", "pointwise") or operator_name(node.expr) != "relax.multiply":
        return None
    constant = array(node.expr.args[1])
    if constant is None or constant.dtype != np.float32 or len(node.shape) not in (2, 4):
        return None
    return constant if constant.shape == (1, *node.shape[1:2], *[1] * (len(node.shape) - 2)) else None


def _scalable(net: Network, points: QuantizationPoints, group: ScaleGroup) -> list[int]:
    """Of what makes a group, or passes inputs and floats on in it, that which layers alone read, if these read it all.

    Functions only where others are joined with them: else a scale of their own does the same.
    """
    if any(net.nodes[reader].op not in _LAYERS for reader in group.consumers):
        return []
    here = points.scale_group_of[group.producers[0]]
    members = [i for i, of in points.scale_group_of.items() if of == here]
    floats = set[int]()
    for i in members:
        node = net.nodes[i]
        if node.op in _FLOATS or (node.op in PASS_THROUGH and floats.issuperset(node.inputs)):
            floats.add(i)
    functions = {i for i in group.producers if len(group.producers) > 1 and net.nodes[i].op == "pointwise"}
    return [
        i
        for i in floats | functions
        if len(net.nodes[i].shape) in (2, 4)
        and not net.nodes[i].left_float
        and scaling(net.nodes[i]) is None  # takes factors itself
        and i not in net.outputs
        and not floats.issuperset(net.users[i])  # these are scaled
        and all(user in group.consumers or user in members for user in net.users[i])
    ]


_LAYERS = {"conv2d", "dense"}
_FLOATS = {"input", "float"}
