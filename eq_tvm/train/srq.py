"""Semi-Relaxed Quantization of weights (Lee et al., arXiv 1911.12990 and 2109.02100).

A weight with logistic noise lies nearest to a point of the grid with some probability. What is computed with is the
likeliest point, which is the nearest: the integer program's rounding. The gradient is that of the probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eq_tvm.train.quantizers import LSQ, integers

_NOISE = 1 / 3  # of a step: what training starts with, as Relaxed Quantization (Louizos et al., arXiv 1810.01875) does


class SRQ(LSQ):
    """As `LSQ`, with the multi-class straight-through estimator on a grid of learned scale and noise.

    The one-hot choice y of the likeliest point is the mode of probabilities pi. The estimator takes the gradient by the
    chosen entry of y as that by its pi, and 0 for all others: so x gets that of `pi_mode`, times the point itself.

    Parameters
    ----------
    scale, lo, hi
        As of `LSQ`.
    """

    def __init__(self, scale: Tensor, lo: int, hi: int) -> None:
        super().__init__(scale, lo, hi)
        self.log_noise = nn.Parameter((scale * _NOISE).log())

    def forward(self, x: Tensor, least: Tensor | None = None) -> Tensor:
        """Quantized and dequantized; scales are `least` at least."""
        scale = self.scale if least is None else torch.maximum(self.scale, least)
        chosen = integers(x, scale, self.lo, self.hi).detach()
        probability = mode_probability(x, chosen, scale, self.log_noise.exp(), self.lo, self.hi)
        point = chosen * scale
        return point + point.detach() * (probability - probability.detach())


def mode_probability(x: Tensor, chosen: Tensor, scale: Tensor, noise: Tensor, lo: int, hi: int) -> Tensor:
    """That x with logistic noise lies nearest to `chosen` times the scale, given that it lies on the grid."""

    def below(end: Tensor | float) -> Tensor:
        return torch.sigmoid((end * scale - x) / noise)

    on_grid = below(hi + 0.5) - below(lo - 0.5)
    return (below(chosen + 0.5) - below(chosen - 0.5)) / on_grid.clamp_min(1e-6)
