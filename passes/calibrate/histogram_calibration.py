"""Calibrations that clip each activation at a threshold, which they choose from its histogram."""

from collections.abc import Callable, Sequence

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from ..quantized.quantizers import Range, max_abs_scale
from .calibration import Calibration, Found
from .minmax_calibrate import max_abs_weight_scales, unclipped_scales
from .tensor_statistics import Histogram, collect, fitting_ranges

Threshold = Callable[[Histogram, Range], float]


class HistogramCalibration(Calibration):
    """Base of these calibrations: thresholds for activations, the largest magnitudes for weights, per channel."""

    _of: dict[int, np.ndarray] | None = None
    _histograms: Sequence[Histogram] = ()

    def find_scales(self, problem: Problem) -> Found:
        """From histograms of all images."""
        histograms = self.histograms(problem, self.progress)
        clipped, ranges = clipped_scales(problem, histograms, self.threshold)
        start = unclipped_scales(problem, histograms)
        return Found(start, problem.scales(clipped, self.weight_scales(problem), ranges))

    def histograms(self, problem: Problem, progress: Progress) -> Sequence[Histogram]:
        """That of each scale group."""
        if self._of is not problem.inputs:  # those of wider activations are the same
            self._of, self._histograms = problem.inputs, collect(problem, Histogram, progress)
        return self._histograms

    def threshold(self, histogram: Histogram, range_: Range) -> float:
        """The number that is mapped to the end of the range."""
        raise NotImplementedError

    def weight_scales(self, problem: Problem) -> dict[int, np.ndarray]:
        """For each layer one scale per output channel."""
        return max_abs_weight_scales(problem)


def threshold_scales(problem: Problem, threshold: Threshold, progress: Progress) -> Scales:
    """By a function of each scale group's histogram and range; weights by their largest magnitudes."""
    clipped, ranges = clipped_scales(problem, collect(problem, Histogram, progress), threshold)
    return problem.scales(clipped, max_abs_weight_scales(problem), ranges)


def clipped_scales(
    problem: Problem, histograms: Sequence[Histogram], threshold: Threshold
) -> tuple[np.ndarray, list[Range]]:
    """The scale (G,) and the range of each scale group, from histograms that are there already."""
    ranges = fitting_ranges(problem, histograms)
    thresholds = map_threads(lambda pair: threshold(*pair), zip(histograms, ranges, strict=True))
    return max_abs_scale(np.array(thresholds), np.array([range_.hi for range_ in ranges])), ranges
