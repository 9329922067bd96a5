"""Which activations get 12 bits so that a network's outputs stay as near to float32 as asked."""

from collections.abc import Iterable

import numpy as np

from ..graph.network import Node
from ..graph.output_parts import output_loss
from ..quantized.annotate import Scales
from ..quantized.calibration_images import images_at_once
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from ..quantized.quantizers import Range, quantize
from ..quantized.simulation import Simulation

_SHARES = (0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)  # of the scale groups, those worth it first
_LEFT = 0.3  # of the loss that is allowed, what activations may cause: the rest is for weights, and for other images
_CHANNELS = 2  # axis, behind those of images and of the network's batch
_SMALL = 1e-3  # of a network's work: groups that cost less are all alike
_IMAGES = 8  # to simulate
_LEVELS = 2**12
_FUNCTION = 20  # multiplications that take as long as one result of a function, or of an addition


def loss(problem: Problem, scales: Scales) -> float:
    """How far the simulated network's outputs are from float32: see `output_loss`."""
    few = _few(problem)
    return _loss(few, Simulation(few, scales))


def activations_loss(problem: Problem, scales: Scales) -> float:
    """The same with weights in float."""
    few = _few(problem)
    return _loss(few, _OfActivations(few, scales))


def groups_to_widen(problem: Problem, scales: Scales, allowed: float, progress: Progress) -> list[int]:
    """The scale groups that need 12 bits for a loss that is allowed.

    The groups whose values lose most to quantization, for the work that they would make slower, come first; how many
    are needed is found by bisection, in simulations without errors of weights. All that can be widened, where nothing
    less is enough.

    Parameters
    ----------
    problem : Problem
    scales : Scales
        As found, weights as they were.
    allowed : float
        See `loss`.
    progress : callable (done: float from 0 to 1, message: str)
    """
    some, points = _few(problem), problem.points
    errors, work = _errors(some, scales), _work(problem)
    able = [g for g in range(len(points.scale_groups)) if problem.can_widen(g) and errors[g] > 0]
    order = sorted(able, key=lambda g: -errors[g] / (work[g] + _SMALL))
    counts = sorted({max(1, round(share * len(order))) for share in _SHARES})
    low, high = 0, len(counts)  # all of `order` is known, or taken, to be enough
    while low < high:
        middle = (low + high) // 2
        progress(middle / len(counts), f"wider activations, {counts[middle]} of {len(order)} tensors")
        chosen = order[: counts[middle]]
        if _loss(some, _OfActivations(some, _widened(scales, chosen))) <= _LEFT * allowed:
            high = middle
        else:
            low = middle + 1
    return order[: counts[low]] if low < len(counts) else order


def _few(problem: Problem) -> Problem:
    """The problem with images enough for an average: large ones have many positions."""
    count = min(problem.count, _IMAGES, max(1, images_at_once(problem.net) // 4))
    return problem.subset(np.linspace(0, problem.count - 1, count).round().astype(int))


class _OfActivations(Simulation):
    """Simulates a network with its weights in float."""

    def quantized_weight(self, i: int) -> np.ndarray:
        """In steps of its scale."""
        node, scale = self.net.nodes[i], self.scales.weights[i]
        return self.scales.constant(self.net, i) / (scale if node.op == "dense" else scale[:, None, None, None])


def _loss(problem: Problem, sim: Simulation) -> float:
    for _ in sim.walk():
        pass
    return output_loss(problem.net, [pair for i in problem.net.outputs for pair in sim.outputs[i]])


def _widened(scales: Scales, groups: Iterable[int]) -> Scales:
    """The same scales with finer steps in some groups, over the same values."""
    finer = scales.copy()
    for g in groups:
        range_ = scales.ranges[g]
        factor = _LEVELS // (range_.hi - range_.lo + 1)
        finer.activations[g] /= factor
        finer.ranges[g] = Range("int32", factor * range_.lo, factor * range_.hi)
    return finer


def _errors(problem: Problem, scales: Scales) -> np.ndarray:
    """Of each scale group, the squared error that quantization causes, relative to its values.

    As one that reads it has them, each channel by its weights: the one for which it is largest.
    """
    groups = problem.points.scale_groups
    producers = {i: g for g, group in enumerate(groups) for i in group.producers}
    errors = np.zeros(len(groups))
    for i, value in problem.evaluated():
        if i not in producers or not isinstance(value, np.ndarray):
            continue
        g = producers[i]
        step, range_ = scales.activations[g], scales.ranges[g]
        lost = quantize(value, step, range_) * step - value
        axes = tuple(axis for axis in range(value.ndim) if axis != _CHANNELS)
        squares = [np.square(x).sum(axes, dtype=np.float64) for x in (lost, value)]
        for user in groups[g].consumers:
            weights = _channel_weights(problem.net.nodes[user], len(squares[0]))
            error, whole = (float(np.sum(each * weights)) for each in squares)
            errors[g] = max(errors[g], error / whole if whole else 0.0)
    return errors


def _channel_weights(node: Node, channels: int) -> np.ndarray | float:
    """By what a layer multiplies the squares of each of its input's channels; 1 of what is no layer of these."""
    weight = node.constant
    if node.op == "dense" and len(weight) == channels:
        return np.square(weight).sum(axis=1)
    if node.op == "conv2d" and int(node.expr.attrs.groups) == 1 and weight.shape[1] == channels:
        return np.square(weight).sum(axis=(0, 2, 3))
    if node.op == "conv2d" and weight.shape[:2] == (channels, 1):
        return np.square(weight).sum(axis=(1, 2, 3))
    return 1.0


def _work(problem: Problem) -> np.ndarray:
    """Of each scale group, the share of the network's work that what reads it does."""
    net = problem.net

    def of(i: int) -> float:
        node = net.nodes[i]
        results = float(np.prod(node.shape))
        if node.op in ("conv2d", "dense"):
            return results * (node.constant[0].size if node.op == "conv2d" else len(node.constant))
        return results * _FUNCTION

    work = np.array([sum(map(of, group.consumers)) for group in problem.points.scale_groups])
    return work / max(work.sum(), 1.0)
