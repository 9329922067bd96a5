"""Scales by the p-norm of what quantization changes in each tensor."""

from collections.abc import Sequence

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.layer_matrices import grouped_weight
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.quantizers import Range, max_abs_scale
from .histogram_calibration import clipped_scales
from .tensor_statistics import Histogram, weight_max_abs

_FRACTIONS = np.linspace(1.0, 0.1, 91)  # candidates for the threshold, in parts of the largest magnitude


def norm_scales(problem: Problem, histograms: Sequence[Histogram], p: float) -> Scales:
    """The scales for which the sum of |Q(x) - x|^p is least: the larger p, the less is clipped."""
    activations, ranges = clipped_scales(
        problem, histograms, lambda histogram, range_: norm_threshold(histogram, range_, p)
    )
    return problem.scales(activations, norm_weight_scales(problem, p), ranges)


def norm_threshold(histogram: Histogram, range_: Range, p: float) -> float:
    """Of an activation, the candidate with the least sum, all elements of a bin standing in its middle."""
    counts = histogram.used
    middles = (np.arange(counts.shape[1]) + 0.5) * histogram.width
    thresholds = histogram.threshold(range_) * _FRACTIONS

    def errors(counts: np.ndarray, limit: int) -> list[float]:
        return [float(np.sum(_powers(middles, scale, limit, p) * counts)) for scale in scales]

    scales = max_abs_scale(thresholds, range_.hi)
    positive, negative = (errors(*side) for side in zip(counts, (range_.hi, -range_.lo), strict=True))
    return float(thresholds[np.argmin(np.add(positive, negative))])


def norm_weight_scales(problem: Problem, p: float) -> dict[int, np.ndarray]:
    """For each output channel of each layer's weights the candidate with the least sum."""

    def of_layer(i: int) -> np.ndarray:
        node, limit = problem.net.nodes[i], problem.weight_limit(i)
        weight = grouped_weight(node, node.constant).reshape(node.shape[1], -1)
        start = max_abs_scale(weight_max_abs(node), limit)
        candidates = (start * _FRACTIONS[:, None]).astype(np.float32)
        errors = [_powers(weight, scales[:, None], limit, p).sum(axis=1) for scales in candidates]
        return np.take_along_axis(candidates, np.argmin(errors, axis=0)[None], axis=0)[0]

    return dict(zip(problem.net.layers(), map_threads(of_layer, problem.net.layers()), strict=True))


def _powers(values: np.ndarray, scale: np.ndarray, limit: int, p: float) -> np.ndarray:
    """What quantization changes, to the power of p."""
    missed = np.clip(np.rint(values / scale), -limit, limit) * scale - values
    with np.errstate(over="ignore"):
        return np.asarray(missed**2 if p == 2 else np.abs(missed) ** p)
