"""Calibration by relative entropy, as TensorRT's: the baseline of the EasyQuant paper."""

import numpy as np

from ..graph.relax_pass import relax_pass
from ..quantized.quantizers import Range
from .histogram_calibration import HistogramCalibration
from .tensor_statistics import Histogram

_CANDIDATES = 512  # thresholds tried


@relax_pass
class KLCalibrate(HistogramCalibration):
    """Annotate a canonical module with the thresholds that change the distribution of each activation least.

    That is, with the least Kullback-Leibler divergence between the histograms of an activation before and after
    quantization (Migacz, 8-bit Inference with TensorRT, GTC 2017; the baseline in tables 1 to 3 of arXiv 2006.16669).
    Weights are scaled by their largest magnitudes, per channel. Parameters, record and errors are those of
    `Calibration`.
    """

    def threshold(self, histogram: Histogram, range_: Range) -> float:
        """See `kl_threshold`."""
        return kl_threshold(histogram, range_)


def kl_threshold(histogram: Histogram, range_: Range) -> float:
    """The end of the bin at which clipping diverges least from the whole distribution.

    For each candidate of so many bins, P are these bins, with what is clipped added to the last. Q are the bins without
    it, joined to as many as there are quantized magnitudes, each spread evenly over those of its bins that are not
    empty.
    """
    counts, levels = histogram.magnitudes.astype(np.float64), range_.hi + 1
    if len(counts) <= levels:
        return histogram.max_abs
    candidates = np.unique(np.linspace(levels, len(counts), _CANDIDATES).astype(int))
    clipped = counts.sum() - np.cumsum(counts)
    divergences = [_divergence(counts[:n], clipped[n - 1], levels) for n in candidates]
    return min(candidates[np.argmin(divergences)] * histogram.width, histogram.max_abs)


def _divergence(counts: np.ndarray, clipped: float, levels: int) -> float:
    p = counts.copy()
    p[-1] += clipped
    starts = np.arange(levels) * len(counts) // levels
    filled = counts > 0
    sums, numbers = np.add.reduceat(counts, starts), np.add.reduceat(filled.astype(np.int64), starts)
    mean = np.divide(sums, numbers, out=np.zeros(levels), where=numbers > 0)
    q = np.repeat(mean, np.diff(starts, append=len(counts)))
    total_p, total_q = p.sum(), counts.sum()
    if not total_q:
        return np.inf
    # Where only the clipped share fills a bin, Q has nothing there: it gets the smallest thing that there can be.
    q = np.where(filled, q, 1e-4)
    p, q = p[p > 0] / total_p, q[p > 0] / total_q
    return float(np.sum(p * np.log(p / q)))
