"""DropBits (Lee et al., arXiv 1911.12990): bits that training drops at random, and learns to do without."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eq_tvm.train.bits.gates import Gates
from eq_tvm.train.quantizers import LSQ

_KEPT = 0.9  # the probability of a bit, to start with


class DropBits(nn.Module):
    """A quantizer of as many bits as gates leave open at a time.

    The grid of each width has the points of the one before and outer ones, which are dropped together. When it is not
    trained all bits are there.

    Parameters
    ----------
    quantizers : sequence of LSQ
        Of growing width. Those of one scale have one grid, whose outer points are dropped; with a scale for each width,
        as learned widths need it to be compared, a grid of all of them reaches as far.
    """

    def __init__(self, quantizers: Sequence[LSQ]) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(quantizers)
        self.gates = Gates([_KEPT] * (len(quantizers) - 1))

    @classmethod
    def of_outer_points(cls, widest: LSQ) -> DropBits:
        """That may drop the last bit of a quantizer."""
        narrow = type(widest)(widest.scale.detach(), -(widest.hi // 2), widest.hi // 2)
        for name, parameter in widest.named_parameters():
            setattr(narrow, name, parameter)
        return cls([narrow, widest])

    @property
    def widest(self) -> LSQ:
        """What is left when it is trained."""
        return self.quantizers[-1]

    @property
    def scale(self) -> Tensor:
        """Of all bits."""
        return self.widest.scale

    def forward(self, x: Tensor, least: Tensor | None = None) -> Tensor:
        """Quantized to a width that is drawn anew, and dequantized."""
        if not self.training:
            return self.widest(x, least)
        results = [quantizer(x, least) for quantizer in self.quantizers]
        result = results[0]
        for is_open, narrow, wide in zip(self.gates.sampled(), results, results[1:], strict=False):
            result = result + is_open * (wide - narrow)
        return result


def limit(width: int) -> int:
    """The greatest integer of weights of so many bits."""
    return 2 ** (width - 1) - 1


def expected_price(prices: Tensor, gates: Gates) -> Tensor:
    """What a layer costs on average, given what each of its widths does (widths,)."""
    return prices[0] + (gates.probabilities * (prices[1:] - prices[:-1])).sum()


def chosen_widths(probabilities: Sequence[Tensor], prices: Sequence[Tensor], budget: float) -> list[int]:
    """Of each layer which width it has, by what training thinks of them, for no more than the budget.

    Parameters
    ----------
    probabilities : sequence of Tensor (widths - 1,)
        Of each layer, that a width beyond the first is needed; never rising.
    prices : sequence of Tensor (widths,)
    budget : float

    Returns
    -------
    list of int
        The place of each layer's width. What is likeliest is bought first, as long as the budget lasts.
    """
    steps = [
        (float(probability), -place, layer)
        for layer, each in enumerate(probabilities)
        for place, probability in enumerate(each, start=1)
    ]
    widths = [0] * len(prices)
    left = budget - float(torch.stack([each[0] for each in prices]).sum())
    for _, negative, layer in sorted(steps, reverse=True):
        place = -negative
        more = float(prices[layer][place] - prices[layer][widths[layer]])
        if place == widths[layer] + 1 and more <= left + 1e-6 * abs(budget):
            widths[layer], left = place, left - more
    return widths
