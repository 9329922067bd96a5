"""Which activations of a canonical network are quantized, and which of them share one scale."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ..graph.network import BOUNDS, IN_BETWEEN, PASS_THROUGH, QUANTIZED_OPS, ROW_OPS, Network, Node
from ..graph.pointwise import NEVER_NEGATIVE
from ..graph.rewrite import operator_name
from .quantizers import NARROWEST_FIRST, TINY, WEIGHT_LIMITS, WIDE, Range, activation_range_of

_READS_INTEGERS = QUANTIZED_OPS | {"pointwise"}
_FREE = {"pointwise", "mean"} | IN_BETWEEN
_FINE = ROW_OPS | {"offset"}  # 12 bits cost them no more than 8
_SUMS = _FINE | {"add"}
_LAYERS = {"conv2d", "dense"}
_MULTIPLY = _LAYERS | {"matmul"}
_UNEVEN = {"pointwise", "multiply"}
_FINEST = 0.3  # of the scale that a channel's largest weight needs, the least that rounding takes
_ROOM = 0.9  # of 32 bits: the bias wants some, too
_LAYER_RESULT = _LAYERS | {"bias_add"}
_KEEPS_SIGN = PASS_THROUGH | {"add", "multiply", "avg_pool2d", "mean"}


@dataclass(frozen=True)
class ScaleGroup:
    """Activations that pass-through operators join: one scale and one range (*unified scales*).

    Attributes
    ----------
    producers : tuple of int
        The nodes whose results get a quantize/dequantize pair, in topological order.
    consumers : tuple of int
        The nodes outside the group that read it (through pass-through operators) and are quantized.
    range : Range
    shifts : bool
        The range may begin below 0, where what the images show does: see `Range.lowered`.
    """

    producers: tuple[int, ...]
    consumers: tuple[int, ...]
    range: Range
    shifts: bool = False


@dataclass(frozen=True)
class QuantizationPoints:
    """The scale groups, and that of each node whose result is a quantized tensor (producer or pass-through).

    `float_readers` are for each quantized input of the network the nodes that read the float32 numbers that it is
    given as, and lose nothing by what others of its readers need. As an output of the network, an input stays as it is.
    """

    scale_groups: list[ScaleGroup]
    scale_group_of: dict[int, int]
    float_readers: dict[int, set[int]]


def quantization_points(
    net: Network, scheme: str, activation_range: str, kept: Mapping[int, str] | None = None
) -> QuantizationPoints:
    """Find the quantized activations of a network.

    A result is quantized where, through pass-through operators only, it reaches a convolution, a dense layer, an
    average, or an addition, product or bound (relu, clip) that is quantized itself (a bound that can't be fused into a
    layer). So is the source of a quantized pointwise function. A quantized addition takes one operand in the
    accumulator of the layer that makes it. What leaves the network, or float operators alone read, stays float.

    What one of the nodes in `kept` reads is of that node's scheme, or of a wider one that another reader has. INT8 at
    least is what only pointwise functions and products read (and the average that a product's factor is made from): it
    needs no room in 16 bits, where 8 bits cost no more than 7. 12 bits have what only sums and operators on rows
    (softmax, layer normalization) read, as these compute in 32 bits anyway: the stream of a transformer, for one. So
    have results of softmax as the first operand of a product: most are small beside the largest. And an input of the
    network that only layers read, but for "symmetric": pixels have 8 bits, what they lose no later layer can make up
    for, and it is but one layer that computes with shorter chains. The second operand of a product of matrices takes
    the place of int8 weights.
    """
    kept = kept or {}
    quantized = _quantized(net)
    parent = list(range(len(net.nodes)))  # union-find

    def find(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in quantized:
        if net.nodes[i].op in PASS_THROUGH:
            for j in net.nodes[i].inputs:
                parent[find(j)] = find(i)
    members: dict[int, list[int]] = {}
    for i in sorted(quantized):
        members.setdefault(find(i), []).append(i)

    non_negative = _non_negative(net)
    scale_groups: list[ScaleGroup] = []
    scale_group_of: dict[int, int] = {}
    for nodes in members.values():
        producers = tuple(i for i in nodes if net.nodes[i].op not in PASS_THROUGH)
        users = {user for i in nodes for user in net.users[i]}
        consumers = tuple(sorted(u for u in users if u not in nodes and net.nodes[u].op in _READS_INTEGERS))
        read_by = {net.nodes[u].op for u in consumers}
        free = read_by <= _FREE and read_by != {"mean"} and bool(read_by)
        pixels = read_by <= _LAYERS and all(net.nodes[i].op == "input" for i in producers)
        pixels = pixels and activation_range != "symmetric"
        fine = read_by <= _SUMS and bool(read_by & _FINE)
        positive = all(non_negative[i] for i in producers)
        shifts = not positive and activation_range != "symmetric" and _may_shift(net, producers, consumers)
        asked = {kept.get(u, scheme) for u in consumers if net.nodes[u].op in QUANTIZED_OPS} or {scheme}
        schemes = asked | ({"int8"} if free or pixels else set())
        shares = read_by == {"matmul"} and all(net.nodes[i].op == "softmax" for i in producers)
        if fine or shares:
            schemes.add(WIDE)
        if not can_widen(net, nodes, consumers):
            schemes = schemes - {WIDE} or {"int8"}
        range_ = activation_range_of(max(schemes, key=NARROWEST_FIRST.index), activation_range, positive or shifts)
        if any(net.nodes[u].op == "matmul" and net.nodes[u].inputs[1] in nodes for u in consumers):
            range_ = range_.as_weights()
        scale_group_of.update(dict.fromkeys(nodes, len(scale_groups)))
        scale_groups.append(ScaleGroup(producers, consumers, range_, shifts))
    return QuantizationPoints(scale_groups, scale_group_of, _float_readers(net, quantized))


def can_widen(net: Network, nodes: Collection[int], consumers: Collection[int]) -> bool:
    """Whether activations can have 12 bits.

    They can't where they take the place of weights, as a product's second operand, nor where a reader's accumulator
    might overflow, whatever scales its weights get.
    """
    products = [net.nodes[u] for u in consumers if net.nodes[u].op == "matmul"]
    layers = (net.nodes[u] for u in consumers if net.nodes[u].op in _LAYERS)
    if any(node.inputs[1] in nodes or not _sums_fit(net.nodes[node.inputs[0]].shape[-1]) for node in products):
        return False
    return all(map(_has_room, layers))


def _sums_fit(depth: int) -> bool:
    """Whether 32 bits hold the sums of a product of matrices whose first operand has 12 bits."""
    greatest = activation_range_of(WIDE, "unsigned", True).hi
    return depth * greatest * WEIGHT_LIMITS[WIDE] < 2**31


def _has_room(layer: Node) -> bool:
    weight = np.abs(layer.constant.reshape(len(layer.constant), -1), dtype=np.float64)
    if layer.op == "dense":
        weight = weight.T
    if not np.isfinite(weight).all():
        return True  # calibration names the layer
    sums = weight.sum(axis=1) / (_FINEST * weight.max(axis=1, initial=TINY))
    longest = np.minimum(sums, weight.shape[1]).max(initial=0)
    greatest = activation_range_of(WIDE, "unsigned", True).hi
    return bool(longest * WEIGHT_LIMITS[WIDE] * greatest < _ROOM * 2**31)


def _may_shift(net: Network, producers: Collection[int], consumers: Collection[int]) -> bool:
    """Whether the results are seldom even around 0, and what reads them takes any range."""
    made_by, read_by = ({net.nodes[i].op for i in nodes} for nodes in (producers, consumers))
    return bool(made_by & _UNEVEN) and "matmul" not in read_by


def reads_quantized(net: Network, node: int, user: int, found: Collection[int]) -> bool:
    """Whether a user of a node reads integers of it, given which of the nodes behind it are quantized."""
    op = net.nodes[user].op
    if op in IN_BETWEEN | {"add"}:
        return user in found or any(_is_bound(net, u, found) for u in net.users[user])
    if op in QUANTIZED_OPS:
        return True
    if op in BOUNDS:  # behind a pass-through operator there is no layer to fuse it into
        return net.nodes[node].op in PASS_THROUGH and _is_bound(net, user, found)
    return op in PASS_THROUGH and user in found


def _float_readers(net: Network, quantized: Collection[int]) -> dict[int, set[int]]:
    return {
        i: {user for user in net.users[i] if not reads_quantized(net, i, user, quantized)}
        for i in quantized
        if net.nodes[i].op == "input"
    }


def _is_bound(net: Network, i: int, found: Collection[int]) -> bool:
    """Whether a node is a bound whose result is quantized, perhaps behind the upper bounds of its channels."""
    ends = [i, *(user for user in net.users[i] if net.nodes[user].op == "minimum")]
    return net.nodes[i].op in BOUNDS and any(end in found for end in ends)


def _quantized(net: Network) -> set[int]:
    if not any(node.op in _MULTIPLY for node in net.nodes):
        return set()  # 8 bits would gain nothing
    fused = _fused_operands(net)
    found: set[int] = set()
    sources: set[int] = set()
    for i in reversed(range(len(net.nodes))):
        node = net.nodes[i]
        is_read = node.is_tensor and any(reads_quantized(net, i, u, found) for u in net.users[i])
        if i in sources or (is_read and i not in fused):
            found.add(i)
        if i in found and node.source is not None:
            sources.add(node.source)
    return found


def _fused_operands(net: Network) -> set[int]:
    """The operand of each addition that stays in the accumulator of its layer: of two such, the one bound last."""
    fused = set()
    for node in net.nodes:
        if node.op == "add" and node.inputs[0] != node.inputs[1]:
            layers = [i for i in node.inputs if net.nodes[i].op in _LAYER_RESULT and net.sole_user(i) is not None]
            fused.update(sorted(layers)[-1:])
    return fused


def _non_negative(net: Network) -> list[bool]:
    """For each node, whether its result can be shown never to be negative."""
    result: list[bool] = []
    for node in net.nodes:
        name = operator_name(node.expr)
        if name == "relax.clip":
            value = float(node.expr.args[1].value) >= 0
        elif node.computes in _KEEPS_SIGN:
            value = all(result[i] for i in node.inputs)
        elif node.op == "minimum":
            value = result[node.inputs[0]]
        else:
            value = name in NEVER_NEGATIVE
        result.append(value)
    return result
