"""Calibrations that clip each activation at a threshold, which they choose from its histogram."""

from collections.abc import Callable

import numpy as np

from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from ..quantized.quantizers import Range, max_abs_scale
from .calibration import Calibration, Found
from .minmax_calibrate import max_abs_weight_scales
from .tensor_statistics import Histogram, collect

Threshold = Callable[[Histogram, Range], float]


class HistogramCalibration(Calibration):
    """Base of these calibrations: thresholds for activations, the largest magnitudes for weights, per channel."""

    def find_scales(self, problem: Problem) -> Found:
        """From histograms of all images."""
        histograms = collect(problem, Histogram, self.progress)
        limits = np.array([group.range.hi for group in problem.points.scale_groups])
        largest = max_abs_scale(np.array([histogram.max_abs for histogram in histograms]), limits)
        clipped = clipped_scales(problem, histograms, self.threshold)
        return Found(
            problem.scales(largest, max_abs_weight_scales(problem)),
            problem.scales(clipped, self.weight_scales(problem)),
        )

    def threshold(self, histogram: Histogram, range_: Range) -> float:
        """The magnitude that is mapped to the end of the range."""
        raise NotImplementedError

    def weight_scales(self, problem: Problem) -> dict[int, np.ndarray]:
        """For each layer one scale per output channel."""
        return max_abs_weight_scales(problem)


def threshold_scales(problem: Problem, threshold: Threshold, progress: Progress) -> np.ndarray:
    """The scale of each scale group (G,), by a function of its histogram and range."""
    return clipped_scales(problem, collect(problem, Histogram, progress), threshold)


def clipped_scales(problem: Problem, histograms: list[Histogram], threshold: Threshold) -> np.ndarray:
    """The same from histograms that are there already."""
    ranges = [group.range for group in problem.points.scale_groups]
    thresholds = map_threads(lambda pair: threshold(*pair), zip(histograms, ranges, strict=True))
    return max_abs_scale(np.array(thresholds), np.array([range_.hi for range_ in ranges]))
