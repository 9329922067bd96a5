"""Calibration by the largest magnitudes: the plain baseline, and where EasyQuant's search starts."""

from collections.abc import Sequence

import numpy as np

from ..graph.relax_pass import relax_pass
from ..quantized.annotate import Scales
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from ..quantized.quantizers import max_abs_scale
from .calibration import Calibration, Found
from .tensor_statistics import Extremes, collect, fitting_ranges, weight_max_abs


@relax_pass
class MinMaxCalibrate(Calibration):
    """Annotate a canonical module with the scales that map each largest magnitude to the end of its range.

    Parameters, record and errors are those of `Calibration`.
    """

    def find_scales(self, problem: Problem) -> Found:
        """From the largest magnitudes."""
        scales = max_abs_scales(problem, self.progress)
        return Found(scales, scales)


def max_abs_scales(problem: Problem, progress: Progress) -> Scales:
    """Scales that map the largest magnitude over all images (weights: of each channel) to the range's end."""
    return unclipped_scales(problem, collect(problem, Extremes, progress))


def unclipped_scales(problem: Problem, statistics: Sequence[Extremes]) -> Scales:
    """The same from statistics that are there already."""
    ranges = fitting_ranges(problem, statistics)
    thresholds = [each.threshold(range_) for each, range_ in zip(statistics, ranges, strict=True)]
    scales = max_abs_scale(np.array(thresholds), np.array([range_.hi for range_ in ranges]))
    return problem.scales(scales, max_abs_weight_scales(problem), ranges)


def max_abs_weight_scales(problem: Problem) -> dict[int, np.ndarray]:
    """For each layer the scales that map each channel's largest weight to the range's end."""
    net = problem.net
    return {i: max_abs_scale(weight_max_abs(net.nodes[i]), problem.weight_limit(i)) for i in net.layers()}
