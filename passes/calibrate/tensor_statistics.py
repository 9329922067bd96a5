"""Statistics of activations and weights: all of them in one pass over the images, in little memory."""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np

from ..graph.network import Network, Node
from ..graph.saturation import counted, saturated
from ..quantized.float_executor import Value
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from ..quantized.quantization_points import ScaleGroup
from ..quantized.quantizers import TINY, Range

Statistic = TypeVar("Statistic", bound="Extremes")


class Extremes:
    """The least and the greatest element of a tensor, and 0.

    Attributes
    ----------
    sampled : int
        How many elements of each image's tensor it wants to see beside these.
    least, greatest : float
    """

    sampled: ClassVar[int] = 0

    def __init__(self) -> None:
        self.least, self.greatest = 0.0, 0.0

    @property
    def max_abs(self) -> float:
        """The largest magnitude."""
        return max(-self.least, self.greatest)

    def update(self, values: np.ndarray, least: float, greatest: float) -> None:
        """Take some more values, the least and the greatest of which are given."""
        self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)

    def range_for(self, group: ScaleGroup) -> Range:
        """The integers that they take."""
        span = self.greatest - self.least
        return group.range.lowered(-self.least / span if span > 0 else 0.0) if group.shifts else group.range

    def threshold(self, range_: Range) -> float:
        """What to map to the end of a range so that nothing saturates."""
        return max(self.greatest, -self.least * range_.hi / max(-range_.lo, 1))


class Histogram(Extremes):
    """How often magnitudes lie in equal bins from 0 on.

    The first values fill all bins. Where later ones are larger, neighbouring bins are joined until these fit, so that
    more than half of the bins are always in use (Migacz, 8-bit Inference with TensorRT, 2017, takes 2048).

    Attributes
    ----------
    counts : numpy.ndarray (2, bins) int64
        Of positive and of negative elements; without exact zeros, which every scale represents exactly.
    width : float
        Of one bin.
    zeros : int
        Number of exact zeros, and of values that came with none above `TINY`, which count as zeros.
    """

    sampled = 2**15

    def __init__(self, bins: int = 4096) -> None:
        super().__init__()
        self.counts, self.width, self.zeros = np.zeros((2, bins), np.int64), 0.0, 0

    def update(self, values: np.ndarray, least: float, greatest: float) -> None:
        """Take some more values, the least and the greatest of which are given."""
        super().update(values, least, greatest)
        bins, max_abs = self.counts.shape[1], max(-least, greatest)
        if max_abs < TINY:
            self.zeros += values.size
            return
        self.width = self.width or max_abs / bins
        while max_abs > self.width * bins:
            joined = self.counts.reshape(2, -1, 2).sum(axis=2)
            self.counts = np.concatenate([joined, np.zeros_like(joined)], axis=1)
            self.width *= 2
        values = values.ravel()
        for counts, part in zip(self.counts, (values[values > 0], -values[values < 0]), strict=True):
            counts += np.histogram(part, bins, (0, self.width * bins))[0]
        self.zeros += int(np.count_nonzero(values == 0))

    @property
    def used(self) -> np.ndarray:
        """The bins up to the last one that is not empty, (2, bins)."""
        filled = np.flatnonzero(self.counts.any(axis=0))
        return self.counts[:, : filled[-1] + 1 if len(filled) else 0]

    @property
    def magnitudes(self) -> np.ndarray:
        """The same without their signs, (bins,)."""
        return self.used.sum(axis=0)


def collect(problem: Problem, statistic: type[Statistic], progress: Progress) -> list[Statistic]:
    """One such statistic for each scale group, over all images: of the largest magnitudes, and of sampled elements.

    Scores that softmax makes nothing of, those behind masks for one, count as the least that it makes nothing of.

    Raises
    ------
    ValueError
        For NaN or infinity in activations of layers, and in what becomes integers; names the node. Float operators
        beside them may have it, as masks do.
    """
    net, points = problem.net, problem.points
    statistics = [statistic() for _ in points.scale_groups]
    producers = {i: g for g, group in enumerate(points.scale_groups) for i in group.producers}

    def measure(i: int, value: Value) -> tuple[np.ndarray, float, float] | None:
        if i in producers:
            value = counted(net, i, saturated(value, problem.ends.get(i)))
            return _sampled(value, statistic.sampled, net.place(i)), *_finite_extremes(net, i, value)
        if net.nodes[i].op in ("conv2d", "dense"):
            _finite_extremes(net, i, value)
        return None

    for found in problem.measured(measure, progress, "statistics of activations"):
        for i, seen in found.items():
            statistics[producers[i]].update(*seen)
    return statistics


def fitting_ranges(problem: Problem, statistics: Sequence[Extremes]) -> list[Range]:
    """The integers that each scale group takes, by its statistic."""
    return [each.range_for(group) for each, group in zip(statistics, problem.points.scale_groups, strict=True)]


def _sampled(value: np.ndarray, count: int, seed: int) -> np.ndarray:
    """So many elements of each image (N, ...), at the same random places of all."""
    flat = value.reshape(len(value), -1)
    if flat.shape[1] <= count:
        return flat
    return flat[:, np.random.default_rng(seed).integers(flat.shape[1], size=count)]


def weight_max_abs(layer: Node) -> np.ndarray:
    """The largest magnitude in each output channel of a layer (O,); ValueError for NaN or infinity."""
    largest = np.abs(layer.constant).max(axis=(1, 2, 3) if layer.op == "conv2d" else 0)
    if not np.isfinite(largest).all():
        raise ValueError(f"NaN or infinity in the weights of layer '{layer.name}'")
    return largest


def _finite_extremes(net: Network, i: int, value: np.ndarray) -> tuple[float, float]:
    if not value.size:
        return 0.0, 0.0
    extremes = float(value.min()), float(value.max())
    if not np.isfinite(extremes).all():
        raise ValueError(f"NaN or infinity in the activations of layer '{net.nodes[i].name}'")
    return extremes
