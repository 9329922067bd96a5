"""Calibration by the mean square error of each tensor."""

import numpy as np

from ..graph.relax_pass import relax_pass
from ..quantized.layer_matrices import grouped_weight
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.quantizers import Range, max_abs_scale
from .histogram_calibration import HistogramCalibration
from .tensor_statistics import Histogram, weight_max_abs

_FRACTIONS = np.linspace(1.0, 0.1, 91)  # candidates for the threshold, in parts of the largest magnitude


@relax_pass
class MSECalibrate(HistogramCalibration):
    """Annotate a canonical module with the scales that change each tensor least: activations, and weights per channel.

    Least is the sum of the squared differences, which saturation and rounding cause (Banner et al., arXiv 1810.05723,
    section 3, who estimate it in closed form; here it is counted). Parameters, record and errors are those of
    `Calibration`.
    """

    def threshold(self, histogram: Histogram, range_: Range) -> float:
        """The candidate with the least error, all elements of a bin standing in its middle."""
        counts = histogram.used
        middles = (np.arange(counts.shape[1]) + 0.5) * histogram.width
        thresholds = histogram.threshold(range_) * _FRACTIONS

        def errors(counts: np.ndarray, limit: int) -> list[float]:
            return [float(np.sum(_squares(middles, scale, limit) * counts)) for scale in scales]

        scales = max_abs_scale(thresholds, range_.hi)
        positive, negative = (errors(*side) for side in zip(counts, (range_.hi, -range_.lo), strict=True))
        return float(thresholds[np.argmin(np.add(positive, negative))])

    def weight_scales(self, problem: Problem) -> dict[int, np.ndarray]:
        """For each output channel the candidate with the least error; refinement finds its own."""
        if self.refine is not None:
            return super().weight_scales(problem)

        def of_layer(i: int) -> np.ndarray:
            node, limit = problem.net.nodes[i], problem.weight_limit(i)
            weight = grouped_weight(node, node.constant).reshape(node.shape[1], -1)
            start = max_abs_scale(weight_max_abs(node), limit)
            candidates = (start * _FRACTIONS[:, None]).astype(np.float32)
            errors = [_squares(weight, scales[:, None], limit).sum(axis=1) for scales in candidates]
            return np.take_along_axis(candidates, np.argmin(errors, axis=0)[None], axis=0)[0]

        return dict(zip(problem.net.layers(), map_threads(of_layer, problem.net.layers()), strict=True))


def _squares(values: np.ndarray, scale: np.ndarray, limit: int) -> np.ndarray:
    """Squared errors of quantization."""
    return (np.clip(np.rint(values / scale), -limit, limit) * scale - values) ** 2
