"""What is searched: a factor for the scales of each layer's weights, and one for the scale of each activation."""

from dataclasses import dataclass

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.problem import Problem


@dataclass(frozen=True)
class Clip:
    """Where the weights of a layer are clipped, or the activations of a scale group.

    Attributes
    ----------
    first : int
        The first node whose result depends on it.
    layer, group : int, optional
    """

    first: int
    layer: int | None = None
    group: int | None = None


class Clips:
    """Logarithms of factors, all 0 at the start; those that matter last in the network come first.

    As ranges of integers are fixed, what is clipped is what scales say.
    """

    def __init__(self, problem: Problem, start: Scales) -> None:
        self._problem, self._start = problem, start
        net, points = problem.net, problem.points
        found = [Clip(i, layer=i) for i in net.layers()]
        for g, group in enumerate(points.scale_groups):
            is_output = any(points.scale_group_of.get(i) == g for i in net.outputs)
            found.append(Clip(min(group.producers) + (not is_output), group=g))
        self.clips = sorted(found, key=lambda clip: -clip.first)

    def first(self, direction: np.ndarray) -> int:
        """The first node whose result depends on a step."""
        return min((clip.first for clip, far in zip(self.clips, direction, strict=True) if far), default=0)

    def scales(self, logs: np.ndarray) -> Scales:
        """The network's scales at a place (variables,)."""
        activations, weights = self._start.activations.copy(), dict(self._start.weights)
        for clip, factor in zip(self.clips, np.exp(logs).astype(np.float32), strict=True):
            if clip.group is not None:
                activations[clip.group] *= factor
            elif clip.layer is not None:
                weights[clip.layer] = weights[clip.layer] * factor
        found = self._problem.scales(activations, weights, list(self._start.ranges))
        found.constants.update(self._start.constants)
        return found
