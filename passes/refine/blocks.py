"""The parts of a network whose weights are rounded together: its residual blocks."""

from dataclasses import dataclass

from ..graph.network import BOUNDS, Network
from ..quantized.gradients.gradients import differentiable
from ..quantized.quantization_points import QuantizationPoints

_LAYERS = {"conv2d", "dense"}
_ENDS = BOUNDS | {"minimum", "bias_add", "pointwise", "prelu"}  # what belongs to the operator before it
_MOST = 12  # layers in one block


@dataclass(frozen=True)
class Block:
    """Nodes in topological order, what they read of others, and the one that others read: the last."""

    nodes: tuple[int, ...]
    inputs: tuple[int, ...]

    @property
    def end(self) -> int:
        """The node by whose result the block is judged."""
        return self.nodes[-1]


def blocks(net: Network, points: QuantizationPoints) -> list[Block]:
    """Cut a network where a single tensor carries all that follows, into blocks.

    Where a part between two such points has too many layers, or an operator that can't be differentiated, it is taken
    apart to single layers, with the functions behind them.
    """
    found: list[Block] = []
    for nodes in _segments(net):
        layers = [i for i in nodes if net.nodes[i].op in _LAYERS]
        if len(layers) <= _MOST and all(differentiable(net.nodes[i]) for i in nodes):
            parts = [tuple(nodes)]
        else:
            parts = [_with_ends(net, i) for i in layers]
        found += [_block(net, part) for part in parts if any(net.nodes[i].op in _LAYERS for i in part)]
    return [block for block in found if _reads_no_float(block, points)]


def _block(net: Network, nodes: tuple[int, ...]) -> Block:
    read = dict.fromkeys(j for i in nodes for j in net.nodes[i].inputs if j not in nodes)
    return Block(nodes, tuple(read))


def _segments(net: Network) -> list[list[int]]:
    last, furthest = net.last_uses(), -1
    last = [len(net.nodes) if i in net.outputs else use for i, use in enumerate(last)]
    result: list[list[int]] = []
    nodes: list[int] = []
    for i, node in enumerate(net.nodes):
        if node.op != "input":
            nodes.append(i)
        is_cut = furthest <= i  # nothing that was made before is read later
        furthest = max(furthest, last[i])
        following = net.nodes[i + 1].op if i + 1 < len(net.nodes) else ""
        layers = any(net.nodes[j].op in _LAYERS for j in nodes)
        if is_cut and following not in _ENDS and layers and not _ends_depthwise(net, nodes):
            result.append(nodes)
            nodes = []
    if nodes and result:
        result[-1] += nodes
    elif nodes:
        result = [nodes]
    if len(result) > 1:  # what is averaged over all places, or chosen from, need not be right at each
        last = result.pop()
        result[-1] += last
    return result


def _with_ends(net: Network, layer: int) -> tuple[int, ...]:
    """A layer with its bias and the functions behind it, as far as nothing else reads what is between."""
    nodes = [layer]
    while (user := net.sole_user(nodes[-1])) is not None:
        node = net.nodes[user]
        if node.op not in _ENDS or set(node.inputs) != {nodes[-1]} or not differentiable(node):
            break
        nodes.append(user)
    return tuple(nodes)


def _reads_no_float(block: Block, points: QuantizationPoints) -> bool:
    """Whether none of it reads the float32 numbers of an input that others read as integers."""
    return not any(points.float_readers.get(i, set()) & set(block.nodes) for i in block.inputs)


def _ends_depthwise(net: Network, nodes: list[int]) -> bool:
    """Whether the last layer mixes no channels: the next one can make up for its errors."""
    last = [net.nodes[i] for i in nodes if net.nodes[i].op in _LAYERS][-1:]
    return any(node.op == "conv2d" and int(node.expr.attrs.groups) == node.shape[1] > 1 for node in last)
