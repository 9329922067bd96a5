"""Channels of activations that are too small for their tensor's scale: what no method of finding scales can mend."""

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.layer_matrices import by_channel
from ..quantized.problem import Problem
from ..quantized.progress import no_progress

_IMAGES = 4


def lost_channels(problem: Problem, scales: Scales) -> dict[int, int]:
    """How many channels of its input each layer sees as 0 throughout, though they are not 0 in the float network.

    By a few of the images. One scale for all channels keeps those within a factor of 127 or 255 of the largest; where
    preparation could not equalize them (behind an activation that is no ReLU, such as SiLU, each channel has to keep
    its size), that bounds the cosine of the layer, whatever the scale.

    Parameters
    ----------
    problem : Problem
    scales : Scales
        Of the activations.

    Returns
    -------
    dict of int to int
        By the layer's node.
    """
    some = problem.subset(np.linspace(0, problem.count - 1, min(_IMAGES, problem.count)).round().astype(int))
    read = {problem.net.nodes[layer].inputs[0] for layer in problem.net.layers()}
    largest: dict[int, np.ndarray] = {}

    def measure(i: int, value: np.ndarray) -> np.ndarray | None:
        return np.abs(by_channel(value)).max(axis=(0, 2)) if i in read else None

    for each in some.measured(measure, no_progress, "channels of inputs"):
        for i, channels in each.items():
            largest[i] = np.maximum(largest.get(i, 0), channels)
    found = {}
    for layer in problem.net.layers():
        channels = largest[problem.net.nodes[layer].inputs[0]]
        half = scales.input_scale(problem.net, problem.points, layer) / 2
        found[layer] = int(np.count_nonzero((channels > 0) & (channels < half)))
    return found
