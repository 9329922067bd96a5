"""Whole networks, drawn at random: a strategy of hypothesis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from drawn_layers import LAYERS, MOST_CHANNELS, RANKLESS
from hypothesis import assume
from hypothesis import strategies as st
from moves import ANY_RANK, MOVES
from shaped_net import ShapedNet

_LARGEST = 20_000  # elements of a tensor
_IMAGES, _OTHERS = LAYERS * 2 + MOVES + ANY_RANK, RANKLESS * 2 + ANY_RANK


@dataclass(frozen=True)
class Drawn:
    """A network; printed as its nodes, by which a failure is understood."""

    model: onnx.ModelProto

    def __repr__(self) -> str:
        graph = self.model.graph
        weights = [f"{tensor.name}: {[*tensor.dims]}" for tensor in graph.initializer]
        return "\n".join(
            [
                *map(onnx.helper.printable_value_info, graph.input),
                *weights,
                *map(onnx.helper.printable_node, graph.node),
            ]
        )


@st.composite
def networks(draw) -> Drawn:
    """1 or 2 inputs, up to 9 steps, each behind one of the tensors so far, and outputs of what nothing reads."""
    net = ShapedNet([_image(draw)], draw(st.integers(0, 2**16)))
    if draw(st.integers(0, 4)) == 0:
        second = draw(st.sampled_from([net.shapes["x0"], _image(draw), (1, 5), (3,)]))
        net.shapes["x1"] = net.inputs["x1"] = second
    if draw(st.integers(0, 9)) == 0:
        net.held(net.noise(*net.shapes["x0"][1:]))
    for _ in range(draw(st.integers(1, 9))):
        live = [name for name, shape in net.shapes.items() if math.prod(shape) <= _LARGEST]
        assume(live)
        x = live[-1] if draw(st.integers(0, 2)) else draw(st.sampled_from(live))
        step = draw(st.sampled_from(_IMAGES if len(net.shapes[x]) == 4 else _OTHERS))
        step(draw, net, x)
        assume(all(0 < math.prod(shape) <= 4 * _LARGEST for shape in net.shapes.values()))
    read = {name for node in net.nodes for name in node.input}
    outputs = [name for name in net.shapes if name not in read and name not in net.inputs]
    if draw(st.integers(0, 5)) == 0:
        outputs.append(draw(st.sampled_from([*net.shapes])))
    assume(outputs and len(outputs) <= 6)
    return Drawn(net.model(outputs))


def _image(draw) -> tuple[int, ...]:
    channels = draw(st.one_of(st.integers(1, 8), st.integers(1, MOST_CHANNELS)))
    batch = draw(st.sampled_from([1, 1, 1, 2, 3]))
    return batch, channels, draw(st.integers(1, 17)), draw(st.integers(1, 17))
