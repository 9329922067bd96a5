"""Calibrations that clip each activation at a threshold, which they choose from its histogram."""

import numpy as np

from .annotate import Scales
from .calibration import Calibration, Problem, Progress
from .minmax_calibrate import max_abs_weight_scales
from .parallel import map_threads
from .quantizers import Range, max_abs_scale
from .tensor_statistics import Histogram, collect


class HistogramCalibration(Calibration):
    """Base of these calibrations: thresholds for activations, the largest magnitudes for weights, per channel."""

    def find_scales(self, problem: Problem) -> tuple[Scales, dict[int, dict]]:
        """From histograms of all images."""
        activations = threshold_scales(problem, self.threshold, self.progress)
        return problem.scales(activations, self.weight_scales(problem)), {}

    def threshold(self, histogram: Histogram, range_: Range) -> float:
        """The magnitude that is mapped to the end of the range."""
        raise NotImplementedError

    def weight_scales(self, problem: Problem) -> dict[int, np.ndarray]:
        """For each layer one scale per output channel."""
        return max_abs_weight_scales(problem)


def threshold_scales(problem: Problem, threshold, progress: Progress) -> np.ndarray:
    """The scale of each group of activations, by a function of its histogram and range."""
    ranges = [group.range for group in problem.points.groups]
    histograms = collect(problem, Histogram, progress)
    thresholds = map_threads(lambda pair: threshold(*pair), zip(histograms, ranges, strict=True))
    return max_abs_scale(np.array(thresholds), np.array([range_.hi for range_ in ranges]))
