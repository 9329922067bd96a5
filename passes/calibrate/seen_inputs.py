"""What a layer's input looked like, and what its scale makes of that: for people, no scale is found by it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.layer_matrices import by_channel
from ..quantized.problem import Problem
from ..quantized.progress import no_progress
from ..quantized.quantizers import Range, quantize

_IMAGES = 4
_BARS = 64
_ELEMENTS = 4096  # of which similarities are taken
_FACTORS = np.exp2(np.linspace(-2, 1, 37))  # of the scale: from a quarter to twice
_UNITS = 2.0**20  # of the largest magnitude: sums of integers are the same in any order, on any machine


@dataclass(frozen=True)
class SeenInput:
    """The activation that a layer reads, over a few calibration images, in the float network.

    Attributes
    ----------
    lost_channels : int
        How many channels are 0 throughout once they are quantized, though they are not 0. One scale for all channels
        keeps those within a factor of 127 or 255 of the largest; where preparation could not equalize them (behind an
        activation that is no ReLU, such as SiLU, each channel has to keep its size), that bounds the layer's cosine,
        whatever the scale.
    low, high : float
        The smallest and the largest value.
    ends : (float, float)
        Where its quantized range begins and ends.
    counts : list of int (64,)
        How many values are in each part between `low` and `high`.
    similarity : list of (float, float)
        Scales, and the cosine of the values with what they are once they are quantized by each.
    """

    lost_channels: int = 0
    low: float = 0.0
    high: float = 0.0
    ends: tuple[float, float] = (0.0, 0.0)
    counts: list[int] = field(default_factory=list)
    similarity: list[tuple[float, float]] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """As a layer's record calls them."""
        alone = ("lost_channels", "similarity")
        return {name if name in alone else f"input_{name}": value for name, value in vars(self).items()}


def seen_inputs(problem: Problem, scales: Scales) -> dict[int, SeenInput]:
    """By the layer's node, what some of the images show of its input.

    Parameters
    ----------
    problem : Problem
    scales : Scales
        Of the activations.
    """
    some = problem.subset(np.linspace(0, problem.count - 1, min(_IMAGES, problem.count)).round().astype(int))
    read = {problem.net.nodes[layer].inputs[0] for layer in problem.net.layers()}
    values: dict[int, list[np.ndarray]] = {i: [] for i in read}
    for each in some.measured(lambda i, x: by_channel(x) if i in read else None, no_progress, "inputs of layers"):
        for i, x in each.items():
            values[i].append(x)
    groups = {i: problem.points.scale_group_of[i] for i in read}
    seen = {i: _seen(np.concatenate(values[i]), scales.activations[g], scales.ranges[g]) for i, g in groups.items()}
    return {layer: seen[problem.net.nodes[layer].inputs[0]] for layer in problem.net.layers()}


def _seen(x: np.ndarray, scale: np.float32, range_: Range) -> SeenInput:
    """Of values (N, C, P)."""
    largest = np.abs(x).max(axis=(0, 2))
    low, high = float(x.min()), float(x.max())
    counts = np.histogram(x, _BARS, (low, high))[0] if low < high else np.array([x.size])
    flat = x.reshape(-1)
    sample = flat[np.linspace(0, flat.size - 1, min(_ELEMENTS, flat.size)).round().astype(int)]
    return SeenInput(
        int(np.count_nonzero((largest > 0) & (largest < scale / 2))),
        low,
        high,
        (float(range_.lo * scale), float(range_.hi * scale)),
        counts.tolist(),
        [(float(each), _cosine(sample, each, range_)) for each in (scale * _FACTORS).astype(np.float32)],
    )


def _cosine(x: np.ndarray, scale: np.float32, range_: Range) -> float:
    largest = np.abs(x).max(initial=0.0)
    units = np.rint(x * (_UNITS / largest)).astype(np.int64) if largest else np.zeros(x.shape, np.int64)
    quantized = quantize(x, scale, range_).astype(np.int64)
    lengths = np.sqrt(float(np.sum(units * units))) * np.sqrt(float(np.sum(quantized * quantized)))
    return round(float(np.sum(units * quantized)) / lengths, 6) if lengths else float(not units.any())
