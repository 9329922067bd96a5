"""Pooling with what it passes back."""

from collections.abc import Callable

import numpy as np

from ...graph.network import Node
from ..float_operators import pooling
from ..float_operators.borders import pad_border
from ..float_operators.pooling import avg_pool_count, pool_padding, pool_taps

Back = Callable[[np.ndarray], tuple[np.ndarray]]


def max_pool2d(node: Node, x: np.ndarray) -> tuple[np.ndarray, Back]:
    """The largest of each window; its gradient goes to the first of the largest."""
    result = pooling.max_pool2d(node, x)

    def back(gradient: np.ndarray) -> tuple[np.ndarray]:
        left = np.ones(result.shape, bool)

        def share(tap: np.ndarray) -> np.ndarray:
            here = left & (tap == result)
            left[here] = False
            return gradient * here

        return (_spread(node, x, share, -np.inf),)

    return result, back


def average(node: Node, x: np.ndarray) -> tuple[np.ndarray, Back]:
    """The mean of each window, or of all (mean)."""

    def back(gradient: np.ndarray) -> tuple[np.ndarray]:
        share = gradient / np.float32(avg_pool_count(node, x.shape))
        if node.computes == "mean":
            return (np.broadcast_to(share, x.shape),)
        return (_spread(node, x, lambda _: share, 0),)

    return pooling.average(node, x), back


def _spread(node: Node, x: np.ndarray, share: Callable[[np.ndarray], np.ndarray], fill: float) -> np.ndarray:
    """To each place of (..., H, W) the sum of what the windows that see it give it, by what they see there."""
    padding = pool_padding(node, x.shape[-2:])
    whole = pad_border(x, padding, fill)
    found = np.zeros_like(whole)
    for seen, place in zip(pool_taps(node, whole), pool_taps(node, found), strict=True):
        place += share(seen)
    top, left = padding[:2]
    return found[..., top : top + x.shape[-2], left : left + x.shape[-1]]
