"""Shift channels of linear activations to the middle of their range, which a signed quantized tensor has around 0."""

import numpy as np
import tvm

from ..graph.network import Network, Node
from ..graph.rebuild import replace_constants
from ..graph.relax_pass import relax_pass
from ..graph.step_notes import with_step
from ..quantized.layer_matrices import by_channel, grouped_weight
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from .preparation import Preparation


@relax_pass
class CenterChannels(Preparation):
    """Subtract a constant from channels of a canonical module, which the layers behind add again in their biases.

    For what no bound follows, as the bottlenecks of MobileNetV2 (the projections, and the sums along a stage), if all
    its readers are layers with a bias and without padding. The network computes the same; but [-63, 63] around the
    middle of a channel takes smaller steps than around 0. The zero points of other quantizers do that for a whole
    tensor; here each channel has its own, and none costs anything when the network runs.

    The constant is halfway between the channel's mean, and the middle between its least and largest value: the former
    leaves the tails at unequal distances, the latter hangs on two numbers of some images.

    Parameters are those of `Preparation`.
    """

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace biases."""
        problem = self.problem(mod)
        net, free = problem.net, _free(problem.net)
        if not free:
            return mod
        middles, ends = _middles(problem, free, self.progress)
        if not all(np.isfinite(middle).all() for middle in middles.values()):
            return mod  # the calibration that follows names the layer
        shifts = _shifts(net, middles)
        centered = replace_constants(mod, net, _shifted_biases(net, shifts))
        return with_step(centered, "center_channels", _largest(net, shifts, ends))


def _free(net: Network) -> set[int]:
    """The biases and additions whose results all readers take at any offset."""
    free: set[int] = set()
    for i in reversed(range(len(net.nodes))):
        is_linear = net.nodes[i].op in ("bias_add", "add") and i not in net.outputs and bool(net.users[i])
        if is_linear and all(
            user in free if net.nodes[user].op == "add" else _takes_offset(net, user) for user in net.users[i]
        ):
            free.add(i)
    return free


def _takes_offset(net: Network, i: int) -> bool:
    node = net.nodes[i]
    padded = node.op == "conv2d" and any(map(int, node.expr.attrs.padding))
    return node.op in ("conv2d", "dense") and net.bias_of(i) is not None and not padded


def _middles(
    problem: Problem, free: set[int], progress: Progress
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """The constant (C,) that each of them would have subtracted; and their least and largest values (2, C)."""

    def measure(i: int, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        if i not in free:
            return None
        x = by_channel(value)
        return x.min(axis=(0, 2)), x.max(axis=(0, 2)), x.mean(axis=2, dtype=np.float64).sum(axis=0)

    least: dict[int, np.ndarray] = {}
    largest: dict[int, np.ndarray] = {}
    mean: dict[int, np.ndarray] = {}
    for found in problem.measured(measure, progress, "centers of channels"):
        for i, (low, high, total) in found.items():
            least[i] = np.minimum(least.get(i, np.inf), low)
            largest[i] = np.maximum(largest.get(i, -np.inf), high)
            mean[i] = mean.get(i, 0) + total / problem.count
    ends = {i: np.stack([least[i], largest[i]]) for i in sorted(free)}
    return {i: (mean[i] + each.mean(axis=0)) / 2 for i, each in ends.items()}, ends


def _largest(
    net: Network, shifts: dict[int, np.ndarray], ends: dict[int, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """By the name of each layer that reads what was shifted, the largest magnitudes there before and after it."""
    magnitudes = {i: (float(np.abs(x).max()), float(np.abs(x - shifts[i]).max())) for i, x in ends.items()}
    readers = ((net.nodes[user], i) for i in ends for user in net.users[i])
    return {node.name: magnitudes[i] for node, i in readers if node.op in ("conv2d", "dense")}


def _shifts(net: Network, middles: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """What is subtracted from each node's channels (C,).

    An addition gets its own middle by the last of its operands that is a bias that only it reads. Where there is none,
    it has what its operands have.
    """
    shifts = dict(middles)
    for i in middles:
        operands = net.nodes[i].inputs
        if net.nodes[i].op == "add":
            biases = [j for j in operands if net.nodes[j].op == "bias_add" and net.sole_user(j) is not None]
            last = max(biases) if biases and operands[0] != operands[1] else None
            others = sum(shifts[j] for j in operands if j in shifts and j != last)
            if last is None:
                shifts[i] = np.broadcast_to(others, middles[i].shape)
            else:
                shifts[last] = middles[i] - others
    return shifts


def _shifted_biases(net: Network, shifts: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    biases = {}
    for i, node in enumerate(net.nodes):
        if node.op == "bias_add":
            layer = net.nodes[node.inputs[0]]
            bias = node.constant.reshape(-1).astype(np.float64) - shifts.get(i, 0)
            if layer.inputs[0] in shifts:
                bias += _offset(layer, shifts[layer.inputs[0]])
            biases[i] = bias.reshape(node.constant.shape)
    return biases


def _offset(layer: Node, shift: np.ndarray) -> np.ndarray:
    """What a layer without padding makes of a constant in each input channel, (O,)."""
    weight = grouped_weight(layer, layer.constant).astype(np.float64)
    inputs = shift.reshape(len(weight), -1)
    return np.einsum("gok,gk->go", weight, np.repeat(inputs, weight.shape[2] // inputs.shape[1], axis=1)).reshape(-1)
