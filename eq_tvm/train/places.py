"""Where many images are in a tensor of one: attention moves their axis from the front, and merges it with others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from eq_tvm.passes.graph.network import Network, Node
from eq_tvm.passes.graph.rewrite import ints, operator_name, transposed_axes


class Place(NamedTuple):
    """The axis that is as many times as long as there are images.

    Attributes
    ----------
    axis : int
    before : int
        How many parts of the axis each have all images in them: 1 where images come first, as in (images, windows).
    """

    axis: int
    before: int


def places(net: Network) -> list[Place]:
    """Of each node of a network, whose inputs have images in front."""
    found: list[Place] = []
    for node in net.nodes:
        found.append(_place(node, net, found) if node.inputs else Place(0, 1))
    return found


def _place(node: Node, net: Network, found: Sequence[Place]) -> Place:
    source = max(node.inputs, key=lambda i: len(net.nodes[i].shape))  # others are broadcast to it
    shape, (axis, before) = net.nodes[source].shape, found[source]
    name = operator_name(node.expr)
    if name == "relax.reshape":
        return _reshaped(node.shape, math.prod(shape[:axis]) * before)
    if name == "relax.permute_dims":
        return Place(transposed_axes(node.expr).index(axis), before)
    if name in _REDUCTIONS and not node.expr.attrs.keepdims and node.expr.attrs.axis is not None:
        axis -= sum(each % len(shape) < axis for each in ints(node.expr.attrs.axis))
    return Place(axis, before)


_REDUCTIONS = {"relax.mean", "relax.sum", "relax.max", "relax.min"}


def _reshaped(shape: Sequence[int], outside: int) -> Place:
    """The axis behind so many elements: one of 1 if there is, and the last, of channels, only if there is no other.

    Where several will do, memory is the same, and what follows decides: a guess, which `check_same` proves.
    """
    possible = []
    for axis, size in enumerate(shape):
        before, rest = divmod(outside, math.prod(shape[:axis]))
        if before and not rest and size % before == 0:
            is_last = axis == len(shape) - 1
            possible.append((before == size == 1, before == 1 and not is_last, not is_last, -axis, Place(axis, before)))
    return max(possible)[-1] if possible else Place(0, 1)  # which `check_same` refuses


def reshaping(node: Node, source: Node, places: Sequence[Place]) -> Callable[[Tensor], Tensor]:
    """What reshapes many images as a node does one: `places` are those of its operand and of itself."""
    (axis, _), (target, _) = places

    def compute(x: Tensor) -> Tensor:
        shape = list(node.shape)
        shape[target] *= x.shape[axis] // source.shape[axis]
        return x.reshape(shape)

    return compute
