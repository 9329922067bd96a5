"""Bits of weights that are learned, layer by layer, for no more than a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from eq_tvm.train.bits.dropbits import DropBits, chosen_widths, expected_price, limit
from eq_tvm.train.bits.gates import Gates
from eq_tvm.train.bits.worth import probabilities
from eq_tvm.train.network import TrainedNetwork
from eq_tvm.train.quantizers import LSQ, integers

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
_RISE = 0.05  # of the penalty's weight, per step and part of the budget that is exceeded


class LearnedWidths:
    """Gates on the bits of layers, their price, and what is chosen in the end.

    Gates start from an estimate of what each bit is worth, and learn from there.
    The price is kept within the budget by a Lagrange multiplier: the weight of the penalty rises as long as it is
    exceeded, and falls when it is not.

    Parameters
    ----------
    network : TrainedNetwork
        Gets a `DropBits` for each of the layers.
    layers : sequence of int
    prices : sequence of numpy.ndarray (widths,)
        Of each of them, for each of `WIDTHS`.
    bits : float
        The budget is what all layers cost with so many, between two widths in proportion.
    quantizer : type
        `LSQ` or `SRQ`.
    curvatures : dict of int to Tensor
        Of each layer the second derivatives of the loss by its weights.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        layers: Sequence[int],
        prices: Sequence[np.ndarray],
        bits: float,
        quantizer: Callable[..., LSQ],
        curvatures: Mapping[int, Tensor],
    ) -> None:
        self._network, self._layers = network, layers
        self._prices = [torch.from_numpy(each).float() for each in prices]
        self._budget = float(sum(np.interp(bits, WIDTHS, each) for each in prices))
        self._multiplier = 0.0
        losses = []
        for i in layers:
            weight, old = network.weights[str(i)].detach(), network.of_weights[str(i)]
            scales = (least_square_scale(weight, old.scale.detach(), limit(width)) for width in WIDTHS)
            gated = DropBits([quantizer(s, -limit(w), limit(w)) for s, w in zip(scales, WIDTHS, strict=True)])
            network.of_weights[str(i)] = gated
            with torch.no_grad():
                errors = [quantizer(weight) - weight for quantizer in gated.quantizers]
                losses.append(torch.stack([(curvatures[i] * error.square()).sum() / 2 for error in errors]))
        for i, likely in zip(layers, probabilities(losses, self._prices, self._budget), strict=True):
            network.of_weights[str(i)].gates = Gates(likely.tolist())

    def penalty(self) -> Tensor:
        """Of the price that is expected."""
        expected = torch.stack(
            [expected_price(p, self._gates(i)) for p, i in zip(self._prices, self._layers, strict=True)]
        ).sum()
        over = expected / self._budget - 1
        self._multiplier = max(0.0, self._multiplier + _RISE * float(over.detach()))
        return self._multiplier * over

    def choose(self) -> list[int]:
        """Give each layer the bits that it needs most, within the budget, and leave the gates out."""
        found = [self._gates(i).log_alpha.detach().sigmoid().cummin(0).values for i in self._layers]
        places = chosen_widths(found, self._prices, self._budget)
        for i, place in zip(self._layers, places, strict=True):
            self._network.of_weights[str(i)] = self._network.of_weights[str(i)].quantizers[place]
        return [WIDTHS[place] for place in places]

    def _gates(self, i: int) -> Gates:
        return self._network.of_weights[str(i)].gates


def least_square_scale(weight: Tensor, like: Tensor, most: int) -> Tensor:
    """Of the shape of `like`, one for each output channel: that with the least square error, of some that saturate."""
    axes = [axis for axis, size in enumerate(like.shape) if size == 1]
    greatest = weight.abs().amax(axes, keepdim=True).clamp_min(1e-12)
    best, least = greatest / most, torch.full_like(greatest, torch.inf)
    for part in np.linspace(0.3, 1.0, 29):
        scale = greatest * part / most
        error = (integers(weight, scale, -most, most) * scale - weight).square().sum(axes, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best
