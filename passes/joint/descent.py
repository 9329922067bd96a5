"""The search along gradients: of the whole network's loss, by the logarithms of all scales."""

from collections.abc import Iterator

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.gradients.gradients import differentiable
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..refine.adam import Adam
from ..refine.block_gradients import BlockFunction, Constants
from ..refine.blocks import Block
from .clips import Clip, Clips
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
        self._problem, self._clips, self.divergence, self._steps = problem, clips, divergence, steps
        net = problem.net
        self._layers = net.layers()
        nodes = tuple(i for i, node in enumerate(net.nodes) if node.op != "input")
        block = Block(nodes, tuple(problem.inputs))
        ranges = clips.scales(np.zeros(len(clips.clips))).ranges
        self.function = BlockFunction(problem.executor, net, problem.points, block, ranges, is_network=True)
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
            place = place - rate * adam(self.gradient(place, batch))
            if (step + 1) % max(1, self._steps // _SHOWN) == 0:
                yield (step + 1) / self._steps, place

    def constants(self, scales: Scales) -> tuple[Constants, dict[int, np.ndarray]]:
        """What the network computes with, and of each layer's weights what they change by the logarithm of a factor."""
        found = map_threads(lambda i: self._weights(scales, i), self._layers)
        weights, changes = ({i: pair[k] for i, pair in zip(self._layers, found, strict=True)} for k in (0, 1))
        return Constants(weights, dict(enumerate(scales.activations))), changes

    def gradient(self, place: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Of the sum of some images' losses, by the logarithms (variables,)."""
        scales = self._clips.scales(place)
        constants, changes = self.constants(scales)

        def of_part(part: np.ndarray) -> Constants:
            inputs = {i: x if len(x) == 1 else x[part] for i, x in self._problem.inputs.items()}
            results, back = self.function.traced(inputs, constants)
            outputs = self._problem.net.outputs
            gradients = self.divergence.gradients([results[i] for i in outputs], part)
            return back(dict(zip(outputs, gradients, strict=True)))

        found = map_threads(of_part, np.split(images, range(_PART, len(images), _PART)))

        def along(clip: Clip) -> float:
            if clip.layer is not None:
                of_weight = np.sum([each.tensors[clip.layer] for each in found if clip.layer in each.tensors], axis=0)
                return float(np.sum(of_weight * changes[clip.layer], dtype=np.float64))
            if clip.group is None or clip.group in self._fixed:
                return 0.0
            of_scale = sum(float(each.scales.get(clip.group, 0)) for each in found)
            return of_scale * float(scales.activations[clip.group])

        return np.array([along(clip) for clip in self._clips.clips], np.float32)

    def _weights(self, scales: Scales, i: int) -> tuple[np.ndarray, np.ndarray]:
        node, limit = self._problem.net.nodes[i], self._problem.weight_limit(i)
        scale = scales.weights[i] if node.op == "dense" else scales.weights[i][:, None, None, None]
        steps = node.constant / scale
        q = np.clip(np.rint(steps), -limit, limit)
        return q * scale, np.where(np.abs(steps) <= limit, q - steps, q) * scale
