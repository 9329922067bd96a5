"""Calibration by a percentile of the magnitudes: a few outliers saturate."""

from typing import Any

import numpy as np

from ..graph.relax_pass import relax_pass
from ..quantized.quantizers import Range
from .histogram_calibration import HistogramCalibration
from .tensor_statistics import Histogram


@relax_pass
class PercentileCalibrate(HistogramCalibration):
    """Annotate a canonical module with scales at which a share of each activation's elements does not saturate.

    The percentile method of Wu et al., Integer Quantization for Deep Learning Inference (arXiv 2004.09602, section
    3.3). Weights are scaled by their largest magnitudes, per channel. Other parameters, record and errors are those of
    `Calibration`.

    Parameters
    ----------
    percentile : float
        That share, above 0 and at most 100; of all elements, zeros too.
    """

    def __init__(self, images: dict[str, np.ndarray], *, percentile: float = 99.99, **options: Any) -> None:
        super().__init__(images, **options)
        if not 0 < percentile <= 100:
            raise ValueError(f"the percentile must lie above 0 and be at most 100, not {percentile}")
        self.percentile = percentile

    def threshold(self, histogram: Histogram, range_: Range) -> float:
        """The percentile of the magnitudes, which are taken as even inside each bin."""
        counts = histogram.magnitudes
        if self.percentile == 100 or not len(counts):
            return histogram.max_abs
        below = np.concatenate([[0], np.cumsum(counts)]) + histogram.zeros
        edges = np.arange(len(counts) + 1) * histogram.width
        found = np.interp(self.percentile / 100 * below[-1], below, edges)
        return min(max(found, histogram.width), histogram.max_abs)
