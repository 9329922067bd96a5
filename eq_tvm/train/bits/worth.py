"""What each bit of a layer's weights is worth: how much more its loss would be without it, by a quadratic estimate.

The second derivatives of the loss at the float network are those of its Gauss-Newton matrix, of which the diagonal is
taken: as Hessian-aware quantization does (Dong et al., arXiv 1911.03852), by weight in place of by layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from eq_tvm.train.losses import sampled
from eq_tvm.train.network import TrainedNetwork


def curvatures(network: TrainedNetwork, batches: Iterable[list[Tensor]], layers: Sequence[int]) -> dict[int, Tensor]:
    r"""Of each layer the second derivatives of the loss by its weights, of their shape.

    The gradient of a loss whose targets are drawn from what the network says itself has the Gauss-Newton matrix as its
    covariance; with targets drawn for each image by itself, the square of a batch's gradient is that of one image over
    their number, on average.

    Parameters
    ----------
    network : TrainedNetwork
        Of which the float form is taken.
    batches : iterable of list of Tensor (N, \*shape)
    layers : sequence of int
    """
    weights = [network.weights[str(i)] for i in layers]
    squares = [torch.zeros_like(weight) for weight in weights]
    count, quantized = 0, network.quantized
    network.quantized = False
    for inputs in batches:
        loss = sampled(network(*inputs), network.kinds)
        for square, gradient in zip(squares, torch.autograd.grad(loss, weights), strict=True):
            square += gradient.square() * len(inputs[0])
        count += 1
    network.quantized = quantized
    return {i: square / max(count, 1) for i, square in zip(layers, squares, strict=True)}


def probabilities(losses: Sequence[Tensor], prices: Sequence[Tensor], budget: float) -> list[Tensor]:
    """How likely it is that each bit is worth its price, with a rate of exchange at which they cost the budget.

    Parameters
    ----------
    losses : sequence of Tensor (widths,)
        Of each layer, with each of its widths.
    prices : sequence of Tensor (widths,)
    budget : float

    Returns
    -------
    list of Tensor (widths - 1,)
        For each bit beyond the first width: what it saves, in parts of that and of what it costs.
    """
    saved = [(each[:-1] - each[1:]).clamp_min(0) for each in losses]
    asked = [each[1:] - each[:-1] for each in prices]
    low, high = -60.0, 60.0  # the logarithm of what a unit of the price is worth
    for _ in range(60):
        rate = (low + high) / 2
        found = [_likely(s, a * np.exp(rate)) for s, a in zip(saved, asked, strict=True)]
        total = sum(float(p[0] + (f.cumprod(0) * a).sum()) for p, f, a in zip(prices, found, asked, strict=True))
        low, high = (rate, high) if total > budget else (low, rate)
    return found


_LEAST, _MOST = 0.05, 0.95  # so that training can still think otherwise


def _likely(saved: Tensor, asked: Tensor) -> Tensor:
    return (saved / (saved + asked).clamp_min(1e-30)).where(asked > 0, torch.ones(())).clamp(_LEAST, _MOST)
