"""Accumulators that are rounded as in the integer program, where float32 decides a near tie otherwise.

A layer of few bits has few different accumulators. Where one of them lies within float32's error of a tie, it does so
in every image.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from eq_tvm.passes.graph.network import Network


class Accumulated(NamedTuple):
    """What a node's value is: that of a layer, bounded.

    Attributes
    ----------
    layer : int
    high : Tensor, optional
        What it is at most.
    """

    layer: int
    high: Tensor | None


def accumulated(net: Network, node: int, quantized: Collection[int]) -> Accumulated | None:
    """The layer whose accumulators a node rounds, behind its bias, relu and upper bound; None for another value."""
    i, high = node, None
    while net.nodes[i].op in ("bias_add", "relu", "minimum"):
        if net.nodes[i].op == "minimum":
            if high is not None:
                return None
            high = torch.as_tensor(net.nodes[i].constant)
        i = net.nodes[i].inputs[0]
        if i in quantized:
            return None
    return Accumulated(i, high) if i in net.layers() else None


def requantized(value: Tensor, step: Tensor, scale: Tensor, high: Tensor | None) -> Tensor:
    """Section 4 of the integer program: accumulators in steps of the result, not rounded to them yet.

    Parameters
    ----------
    value : Tensor (N, ...)
        Accumulators as real numbers, bounded.
    step : Tensor
        Of accumulators, float32, of a shape that they can be divided by.
    scale : Tensor
        Of the result.
    high : Tensor, optional
        Where a value is that, no accumulator is left.
    """
    accumulators = (value.double() / step).round().float()
    steps = accumulators * (step.double() / scale).float()
    return steps if high is None else torch.where(value >= high, high / scale, steps)


def half_up(value: Tensor, scale: Tensor) -> Tensor:
    """Averages of integers, as section 5 of the integer program has those of resizing: of the same scale, rounded.

    Enlarging by 2 makes a tie of each eighth average. Float32 is on either side of it, so a little more counts as one.
    """
    with torch.no_grad():
        steps = (value / scale + (0.5 + _NEAR)).floor() * scale
        change = steps - value
    return value + change


_NEAR = 2.0**-12  # steps
