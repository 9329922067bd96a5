"""The search along gradients: of the whole network's loss, by the logarithms of all scales."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.gradients.gradients import differentiable
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..refine.adam import Adam
from ..refine.block_gradients import BlockFunction, Constants
from ..refine.blocks import Block
from .clips import Clips
from .output_divergence import OutputDivergence

_FAR = 0.5  # that the logarithm of a scale goes at most
_BATCH = 8  # images in a step,
_PART = 2  # and those that one thread works on
_SHOWN = 8  # places that are yielded


def can_descend(problem: Problem) -> bool:
    """Whether all of a network can be differentiated."""
    return all(node.op == "input" or differentiable(node) for node in problem.net.nodes)


class Descent:
    """Adam, with gradients of scales as by Esser et al., Learned Step Size Quantization (arXiv 1902.08153).

    The sums over images do not depend on the number of threads.

    Parameters
    ----------
    problem : Problem
        One that `can_descend`.
    clips : Clips
        What is searched; of inputs of the network, scales stay.
    divergence : OutputDivergence
        Of these images.
    steps : int
    """

    def __init__(self, problem: Problem, clips: Clips, divergence: OutputDivergence, steps: int) -> None:
        self._problem, self._clips, self._divergence, self._steps = problem, clips, divergence, steps
        net = problem.net
        self._layers = net.layers()
        nodes = tuple(i for i, node in enumerate(net.nodes) if node.op != "input")
        block = Block(nodes, tuple(problem.inputs))
        ranges = clips.scales(np.zeros(len(clips.clips))).ranges
        self._function = BlockFunction(problem.executor, net, problem.points, block, ranges, is_network=True)
        self._fixed = {problem.points.scale_group_of[i] for i in problem.inputs if i in problem.points.scale_group_of}

    def places(self) -> Iterator[tuple[float, np.ndarray]]:
        """From time to time how much is done, and the place (variables,)."""
        place: np.ndarray = np.zeros(len(self._clips.clips), np.float32)
        adam, rng = Adam(), np.random.default_rng(0)
        order = np.empty(0, int)
        for step in range(self._steps):
            if len(order) < min(_BATCH, self._problem.count):
                order = rng.permutation(self._problem.count)
            batch, order = order[:_BATCH], order[_BATCH:]
            done = step / self._steps
            rate = np.float32(_FAR / self._steps * (1 + np.cos(np.pi * done)))
            place = place - rate * adam(self._gradient(place, batch))
            if (step + 1) % max(1, self._steps // _SHOWN) == 0:
                yield (step + 1) / self._steps, place

    def _gradient(self, place: np.ndarray, batch: np.ndarray) -> np.ndarray:
        """Of some images' loss by the logarithms."""
        scales = self._clips.scales(place)
        quantized = dict(zip(self._layers, map_threads(lambda i: self._weights(scales, i), self._layers), strict=True))
        constants = Constants({i: weight for i, (weight, _) in quantized.items()}, dict(enumerate(scales.activations)))

        def of_part(part: np.ndarray) -> Constants:
            inputs = {i: x if len(x) == 1 else x[part] for i, x in self._problem.inputs.items()}
            results, back = self._function.traced(inputs, constants)
            outputs = self._problem.net.outputs
            gradients = self._divergence.gradients([results[i] for i in outputs], part)
            return back(dict(zip(outputs, gradients, strict=True)))

        found = map_threads(of_part, np.split(batch, range(_PART, len(batch), _PART)))
        gradient = [self._along(clip.layer, clip.group, found, scales, quantized) for clip in self._clips.clips]
        return np.array(gradient, np.float32)

    def _along(
        self,
        layer: int | None,
        group: int | None,
        found: Sequence[Constants],
        scales: Scales,
        quantized: dict[int, tuple[np.ndarray, np.ndarray]],
    ) -> float:
        if layer is not None:
            of_weight = np.sum([each.tensors[layer] for each in found if layer in each.tensors], axis=0)
            return float(np.sum(of_weight * quantized[layer][1], dtype=np.float64))
        if group in self._fixed or group is None:
            return 0.0
        return float(sum(each.scales.get(group, np.float32(0)) for each in found) * scales.activations[group])

    def _weights(self, scales: Scales, i: int) -> tuple[np.ndarray, np.ndarray]:
        """A layer's weights as quantized, and what they change by the logarithm of their scale."""
        node, limit = self._problem.net.nodes[i], self._problem.weight_limit(i)
        scale = scales.weights[i] if node.op == "dense" else scales.weights[i][:, None, None, None]
        steps = node.constant / scale
        q = np.clip(np.rint(steps), -limit, limit)
        return q * scale, np.where(np.abs(steps) <= limit, q - steps, q) * scale
