"""Differences, and factors of channels that no layer could take up, become what integers know."""

import numpy as np
import tvm
from tvm import relax

from ...graph.network import BOUNDS, IN_BETWEEN, PASS_THROUGH, Network, Node, read_network
from ...graph.pointwise import is_pointwise
from ...graph.relax_pass import relax_pass
from ...graph.rewrite import NewValues, array, operator_name, replace_values, shape


@relax_pass
class RecoverLayers:
    """Write constant factors as depthwise convolutions of one pixel, and differences as sums.

    Where integers make the operands, and layers read the result; elsewhere it would cost more than it gains. Factors
    are those of ``multiply`` and ``divide`` by a constant: a batch norm behind an activation or in front of a
    convolution that is padded, or a residual branch's (LayerScale, arXiv 2103.17239); and of rotary embeddings (arXiv
    2104.09864), where each place that has a factor of its own is a channel. Differences are those of two tensors of one
    shape, such as ``avg_pool2d(x) - x``, the token mixer of PoolFormer (arXiv 2111.11418).
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        net = read_network(mod)
        written = [_layer(node) for node in net.nodes]
        known = [value is not None or _follows(node) for value, node in zip(written, net.nodes, strict=True)]
        made, needed = _made(net, known), _needed(net, known)
        values: NewValues = {}
        for var, i in net.var_node.items():
            value = written[i]
            if value is not None and var.name == net.nodes[i].name and needed[i] and _all_made(net.nodes[i], made):
                values[var] = value
        return relax.transform.DeadCodeElimination(["main"])(replace_values(mod, values)) if values else mod


_LAYERS = {"conv2d", "dense", "matmul"}
_MOST = 2**16  # factors: each has a weight, a multiplier and a bias
_BETWEEN = {"relax.multiply", "relax.nn.softmax", "relax.nn.layer_norm", "relax.nn.rms_norm"}
_MAKE = _LAYERS | {"bias_add"}  # integers, whatever they read
_PASS_ON = PASS_THROUGH | BOUNDS | IN_BETWEEN | {"add", "pointwise", "mean", "avg_pool2d", "minimum"}


def _layer(node: Node) -> relax.Expr | None:
    """What a float node may be written as."""
    if node.op != "float" or node.left_float:
        return None
    name = operator_name(node.expr)
    if name == "relax.subtract" and len(node.inputs) == 2 and all(shape(arg) == node.shape for arg in node.expr.args):
        first, second = node.expr.args
        return relax.op.add(first, relax.op.multiply(second, relax.const(-1.0)))
    return _scaled(node) if name in ("relax.multiply", "relax.divide") and len(node.inputs) == 1 else None


def _scaled(node: Node) -> relax.Expr | None:
    rank, divides = len(node.shape), operator_name(node.expr) == "relax.divide"
    data, factors = node.expr.args
    if array(data) is not None and not divides:
        data, factors = factors, data
    constant = array(factors)
    if constant is None or array(data) is not None or shape(data) != node.shape or constant.dtype != np.float32:
        return None
    whole = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    if not 1 < whole.size <= _MOST or not np.isfinite(whole).all() or (divides and not whole.all()):
        return None
    return _depthwise(data, 1 / whole if divides else whole)


def _depthwise(data: relax.Expr, factors: np.ndarray) -> relax.Expr:
    """Of an image whose channels are all places that have a factor of their own; factors have the data's rank."""
    weight, extents, count = relax.const(factors.reshape(-1, 1, 1, 1)), shape(data), factors.size
    along = [axis for axis, extent in enumerate(factors.shape) if extent > 1]
    if len(extents) == 4 and along == [1]:
        return relax.op.nn.conv2d(data, weight, groups=count)
    order = sorted(range(len(extents)), key=lambda axis: axis not in along)
    moved = data if order == sorted(order) else relax.op.permute_dims(data, order)
    image = relax.op.reshape(moved, (1, count, int(np.prod(extents)) // count, 1))
    scaled = relax.op.reshape(relax.op.nn.conv2d(image, weight, groups=count), [extents[axis] for axis in order])
    back = [int(axis) for axis in np.argsort(order)]
    return scaled if back == order == sorted(order) else relax.op.permute_dims(scaled, back)


def _follows(node: Node) -> bool:
    """Whether a float node is one of integers where its operands are: a bias of such a convolution, for one."""
    if node.op != "float" or node.left_float or not node.is_tensor:
        return False
    name = operator_name(node.expr)
    offsets = [] if name != "relax.add" else [c for arg in node.expr.args if (c := array(arg)) is not None]
    return name in _BETWEEN or any(offset.size > 1 for offset in offsets) or is_pointwise(node.expr)


def _made(net: Network, known: list[bool]) -> list[bool]:
    """For each node whether integer operators make it, those that are `known` to become such included."""
    made: list[bool] = []
    for node, becomes in zip(net.nodes, known, strict=True):
        made.append(node.computes in _MAKE or ((becomes or node.computes in _PASS_ON) and _all_made(node, made)))
    return made


def _all_made(node: Node, made: list[bool]) -> bool:
    return bool(node.inputs) and all(made[i] for i in node.inputs)


def _needed(net: Network, known: list[bool]) -> list[bool]:
    """For each node whether a layer reads what is made of it."""
    needed = [False] * len(net.nodes)
    for i in reversed(range(len(net.nodes))):
        users = [(user, net.nodes[user].computes) for user in net.users[i]]
        needed[i] = any(op in _LAYERS or ((known[u] or op in _PASS_ON) and needed[u]) for u, op in users)
    return needed
