"""Winograd's F(2,3) along a row over bytes: what is multiplied, and the proof that a layer's result is exact.

Each two neighbouring results take four products in place of six, of sums of activations d and of weights g:

    2 y0 = M0 + M1 + M2         M0 = (d0 - d2) 2 g0            M1 = (d1 + d2) (g0 + g1 + g2)
    2 y1 = M1 - M2 - M3         M2 = (d2 - d1) (g0 - g1 + g2)  M3 = (d1 - d3) 2 g2

Activations of 7 bits make sums that a byte holds, moved by an offset. Where all three sums of weights of an output
channel are even, all is halved: y0, not 2 y0, and weights of 7 bits fit a byte. So do most that are not: what one has
beyond a byte is multiplied with its channel once more, as a weight of an *appended* channel.
"""

from dataclasses import dataclass

import numpy as np

from ..common.overflow import INT32_MAX, Proof, worst_accumulators
from ..winograd.winograd_form import F23

SHAPE = (3, 1, (1, 1), 1)  # of kernels: columns, stride from column to column, dilation, groups
PLACES = 4  # products for two results
RESULTS = 2
BYTE = 127  # the greatest magnitude of a weight
SHIFT = 1  # sums are multiplied by 2 to the power of that where weights are not halved


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a layer as they are multiplied.

    Parameters
    ----------
    u : numpy.ndarray
        int64 (place, O, KH, channels and appended ones), within a byte.
    appended : tuple of int
        The channel that each appended one repeats.
    shift : numpy.ndarray
        int64 (O,): sums of an output channel are multiplied by 2 to the power of that.
    """

    u: np.ndarray
    appended: tuple[int, ...]
    shift: np.ndarray


def transformed_weights(weight: np.ndarray) -> Weights:
    """Those of int8 OIHW weights whose kernel is three columns wide."""
    u, shift = _along_rows(weight)
    held = np.clip(u, -BYTE, BYTE)
    beyond = u - held
    appended = np.flatnonzero(beyond.any((0, 1, 2)))
    return Weights(np.concatenate([held, beyond[..., appended]], axis=-1), tuple(map(int, appended)), shift)


def centered_range(span: tuple[int, int]) -> tuple[int, int]:
    """The range of transformed activations, the same in each place once `middle` is taken away."""
    low, high = span
    return low - high, high - low


def middle(span: tuple[int, int]) -> list[int]:
    """What the transformed activations of each place lie around."""
    return [0, sum(span), 0, 0]


def proofs(weight: np.ndarray, bias: np.ndarray, span: tuple[int, int]) -> tuple[Proof, ...]:
    """What has to hold for the kernel to give the accumulator.

    Parameters
    ----------
    weight : numpy.ndarray
        int8 OIHW.
    bias : numpy.ndarray
        int32 (O,), for activations as they are stored.
    span : (int, int)
        Least and greatest activation as stored, what padding is among them.
    """
    largest = int(worst_accumulators(weight, bias, span).max(initial=0))
    spread, heaviest = centered_range(span)[1], int(np.abs(_along_rows(weight)[0]).max(initial=0))
    return (
        Proof("transformed activations in 8 bits", spread, BYTE),
        Proof("transformed weights in two bytes", heaviest, 2 * BYTE),
        Proof(f"{1 << SHIFT} x sums in 32 bits", largest << SHIFT, INT32_MAX),
    )


def _along_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """G g of OIHW weights, halved where that is whole: int64 (place, O, KH, I), and the shift (O,) of what is not."""
    transformed: np.ndarray = np.einsum("pk,ochk->pohc", F23.g, weight.astype("int64"))
    shift: np.ndarray = SHIFT * np.any(transformed % 2, axis=(0, 2, 3))
    return transformed >> (SHIFT - shift)[:, None, None], shift
