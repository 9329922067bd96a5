"""Statistics of activations and weights: all of them in one pass over the images, in little memory."""

from typing import ClassVar, TypeVar

import numpy as np

from ..graph.network import Network, Node
from ..quantized.float_executor import Value
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from ..quantized.quantizers import TINY

Statistic = TypeVar("Statistic", bound="MaxAbs")


class MaxAbs:
    """The largest magnitude of a tensor.

    Attributes
    ----------
    sampled : int
        How many elements of each image's tensor it wants to see beside their largest magnitude.
    """

    sampled: ClassVar[int] = 0

    def __init__(self) -> None:
        self.max_abs = 0.0

    def update(self, values: np.ndarray, max_abs: float) -> None:
        """Take some more values, the largest magnitude of which is given."""
        self.max_abs = max(self.max_abs, max_abs)


class Histogram(MaxAbs):
    """How often magnitudes lie in equal bins from 0 on.

    The first values fill all bins. Where later ones are larger, neighbouring bins are joined until these fit, so that
    more than half of the bins are always in use (Migacz, 8-bit Inference with TensorRT, 2017, takes 2048).

    Attributes
    ----------
    counts : numpy.ndarray (bins,) int64
        Without exact zeros, which every scale represents exactly.
    width : float
        Of one bin.
    zeros : int
        Number of exact zeros, and of values that came with none above `TINY`, which count as zeros.
    """

    sampled = 2**15

    def __init__(self, bins: int = 4096) -> None:
        super().__init__()
        self.counts, self.width, self.zeros = np.zeros(bins, np.int64), 0.0, 0

    def update(self, values: np.ndarray, max_abs: float) -> None:
        """Take some more values, the largest magnitude of which is given."""
        super().update(values, max_abs)
        bins = len(self.counts)
        if max_abs < TINY:
            self.zeros += values.size
            return
        self.width = self.width or max_abs / bins
        while max_abs > self.width * bins:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, np.int64)])
            self.width *= 2
        magnitudes = np.abs(values).ravel()
        counts, _ = np.histogram(magnitudes, bins, (0, self.width * bins))
        zeros = int(np.count_nonzero(magnitudes == 0))
        counts[0] -= zeros
        self.zeros += zeros
        self.counts += counts

    @property
    def used(self) -> np.ndarray:
        """The bins up to the last one that is not empty."""
        filled = np.flatnonzero(self.counts)
        return self.counts[: filled[-1] + 1 if len(filled) else 0]


def collect(problem: Problem, statistic: type[Statistic], progress: Progress) -> list[Statistic]:
    """One such statistic for each scale group, over all images: of the largest magnitudes, and of sampled elements.

    Raises
    ------
    ValueError
        For NaN or infinity in activations of layers, and in what becomes integers; names the node. Float operators
        beside them may have it, as masks do.
    """
    net, points = problem.net, problem.points
    statistics = [statistic() for _ in points.scale_groups]
    producers = {i: g for g, group in enumerate(points.scale_groups) for i in group.producers}

    def measure(i: int, value: Value) -> tuple[np.ndarray, float] | None:
        if i in producers:
            return _sampled(value, statistic.sampled, i), _finite_max_abs(net, i, value)
        if net.nodes[i].op in ("conv2d", "dense"):
            _finite_max_abs(net, i, value)
        return None

    for found in problem.measured(measure, progress, "statistics of activations"):
        for i, (values, max_abs) in found.items():
            statistics[producers[i]].update(values, max_abs)
    return statistics


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


def _finite_max_abs(net: Network, i: int, value: np.ndarray) -> float:
    if not value.size:
        return 0.0
    largest = max(float(value.max()), -float(value.min()))
    if not np.isfinite(largest):
        raise ValueError(f"NaN or infinity in the activations of layer '{net.nodes[i].name}'")
    return largest
