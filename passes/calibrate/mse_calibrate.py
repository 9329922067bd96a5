"""Calibration by the mean square error of each tensor."""

import numpy as np

from ..graph.relax_pass import relax_pass
from ..quantized.problem import Problem
from ..quantized.quantizers import Range
from .calibration import Found
from .histogram_calibration import HistogramCalibration
from .norm_scales import norm_threshold, norm_weight_scales
from .tensor_statistics import Histogram


@relax_pass
class MSECalibrate(HistogramCalibration):
    """Annotate a canonical module with the scales that change each tensor least: activations, and weights per channel.

    Least is the sum of the squared differences, which saturation and rounding cause (Banner et al., arXiv 1810.05723,
    section 3, who estimate it in closed form; here it is counted). Results of layer and RMS normalization are not
    clipped: their few large elements are what later layers go by. Parameters, record and errors are those of
    `Calibration`.
    """

    def find_scales(self, problem: Problem) -> Found:
        """The same, but for results of layer and RMS normalization."""
        found = super().find_scales(problem)
        for g, group in enumerate(problem.points.scale_groups):
            if all(problem.net.nodes[i].op in ("layer_norm", "rms_norm") for i in group.producers):
                found.scales.activations[g] = found.start.activations[g]
        return found

    def threshold(self, histogram: Histogram, range_: Range) -> float:
        """The candidate with the least error."""
        return norm_threshold(histogram, range_, 2)

    def weight_scales(self, problem: Problem) -> dict[int, np.ndarray]:
        """For each output channel the candidate with the least error; refinement finds its own."""
        return super().weight_scales(problem) if self.refine is not None else norm_weight_scales(problem, 2)
