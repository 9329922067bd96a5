"""Winograd's matrices over the integers, and the proof that a layer's result is exact.

Lavin and Gray (arXiv 1509.09308) compute an m x m tile Y of an r x r correlation from a tile d of alpha x alpha inputs:

    Y = A^T [(G w G^T) * (B^T d B)] A        * multiplies element by element, alpha = m + r - 1

Their G has fractions. Here each axis is scaled by an integer factor, so that all matrices are of integers and the
result is factor^2 times the correlation.

A stride leaves pixels that the same weights meet: those of a *phase*, which are as many channels of their own. So a
kernel of 7x7 with strides of 2 is one of 4x4 on four times the channels: see `phases`.

Where tiles do not divide an image, those at its edge are needed in part. With some of the same points fewer places give
their few outputs, from the same transformed weights: see `Edge`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..common.overflow import INT16_MAX, INT32_MAX, Proof, worst_accumulators

Terms = Sequence[Any]  # numbers, arrays or expressions
Times = Callable[[Any, int], Any]
Product = Callable[[Terms, Times], list[Any]]


@dataclass(frozen=True, eq=False)
class Edge:
    """The last tile along an axis, of which fewer outputs are needed.

    Parameters
    ----------
    places : tuple of int
        Those of the whole tile that it takes.
    b, a : callable
        As of `Winograd`: the products for these places, from as many inputs on, and for these outputs, from all places.

    Notes
    -----
    With fewer points the polynomial that interpolates (Lagrange) has other denominators, while G stays. What that
    changes is in B^T, in whole numbers.
    """

    places: tuple[int, ...]
    b: Product
    a: Product


Edges = tuple[Edge | None, Edge | None]  # of the last row of tiles, and of the last tile of each row


@dataclass(frozen=True, eq=False)
class Winograd:
    """F(m x m, r x r) with integer matrices.

    Parameters
    ----------
    m : int
        Outputs of a tile along each axis.
    b, a : callable
        The products with B^T (alpha to alpha terms) and A^T (alpha to m terms) of a list of terms and a function that
        multiplies a term by a small number. Rows that differ in signs share their halves.
    g : numpy.ndarray
        G (alpha, r).
    inverse : int
        The odd part of factor^2, inverted modulo 2^32.
    shift : int
        factor^2 = odd part * 2^shift.
    edges : mapping of int to Edge
        By the outputs that are needed.

    Notes
    -----
    Each axis gains a factor of 2, F(2,3), or 24, F(4,3) and F(3,4), in all. It sits in G as far as the transformed
    weights fit int16, so that A^T is left with powers of two. Column 1 of A^T is all ones: what is added to the product
    at place (1, 1) reaches every output of the tile once, and that is where the bias goes.
    """

    m: int
    b: Product
    g: np.ndarray
    a: Product
    inverse: int
    shift: int
    edges: Mapping[int, Edge] = field(default_factory=dict)

    @property
    def alpha(self) -> int:
        """Inputs of a tile along each axis."""
        return len(self.g)

    @property
    def taps(self) -> int:
        """Rows and columns of a kernel."""
        return self.g.shape[1]

    @property
    def name(self) -> str:
        """As people write it."""
        return f"F({self.m},{self.taps})"

    @property
    def bt(self) -> np.ndarray:
        """B^T as a matrix (alpha, alpha), int64."""
        return _matrix(self.b, self.alpha)

    def bt_of(self, edge: Edge | None) -> np.ndarray:
        """B^T of a tile at an edge, zero where it takes no place."""
        if edge is None:
            return self.bt
        matrix = np.zeros_like(self.bt)
        matrix[list(edge.places)] = _matrix(edge.b, self.alpha)
        return matrix

    @property
    def at(self) -> np.ndarray:
        """A^T as a matrix (m, alpha), int64."""
        return _matrix(self.a, self.alpha)


def _matrix(product: Product, alpha: int) -> np.ndarray:
    return np.stack(product(list(np.eye(alpha, dtype="int64")), lambda x, k: x * k))


def _b23(x: Terms, _times: Times) -> list[Any]:
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _a23(y: Terms, _times: Times) -> list[Any]:
    return [y[0] + y[1] + y[2], y[1] - y[2] - y[3]]


def _b43(x: Terms, times: Times) -> list[Any]:
    even, odd = x[4] - x[2], x[3] - x[1]
    even4, odd4 = x[4] - times(x[2], 4), x[3] - times(x[1], 4)
    return [
        times(x[0] - x[2], 4) + even,
        even4 + odd4,
        even4 - odd4,
        even + times(odd, 2),
        even - times(odd, 2),
        (x[5] - x[3]) - times(odd, 4),
    ]


def _a43(y: Terms, times: Times) -> list[Any]:
    even, odd, even2, odd2 = y[1] + y[2], y[1] - y[2], y[3] + y[4], y[3] - y[4]
    return [y[0] + even + even2, odd + times(odd2, 2), even + times(even2, 4), odd + times(times(odd2, 4) + y[5], 2)]


def _b13(x: Terms, times: Times) -> list[Any]:
    return [times(x[0] - x[2], 4), times(x[1] + x[2], -3), times(x[2] - x[1], -3)]


def _a13(y: Terms, _times: Times) -> list[Any]:
    return [y[0] + y[1] + y[2]]


def _b23_of_43(x: Terms, times: Times) -> list[Any]:
    return [*_b13(x, times), times(x[3] - x[1], 2)]


def _a23_of_43(y: Terms, times: Times) -> list[Any]:
    return [*_a13(y, times), y[1] - y[2] + y[5]]


def _b33(x: Terms, times: Times) -> list[Any]:
    even, odd = x[2] - x[0], x[3] - x[1]
    return [
        times(odd - times(even, 2), 2),
        times(x[3] - x[2] - times(x[1], 2), 3),
        odd + times(x[1] - x[2], 3),
        times(odd, 4),
        times((x[4] - x[2]) - times(odd, 2), 2),
    ]


def _a33(y: Terms, times: Times) -> list[Any]:
    even, odd = y[1] + y[2], y[1] - y[2]
    return [y[0] + even + y[3], odd + times(y[3], 2), even + times(y[3], 4) + y[5]]


def _a34(y: Terms, times: Times) -> list[Any]:
    even, odd, even2, odd2 = y[1] + y[2], y[1] - y[2], y[3] + y[4], y[3] - y[4]
    return [y[0] + even + even2, odd + times(odd2, 2), even + times(times(even2, 2) + y[5], 2)]


F23 = Winograd(2, _b23, np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]), _a23, inverse=1, shift=2)
F43 = Winograd(
    4,
    _b43,
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 12]]),
    _a43,
    inverse=954437177,
    shift=6,
    edges={
        1: Edge((0, 1, 2), _b13, _a13),
        2: Edge((0, 1, 2, 5), _b23_of_43, _a23_of_43),
        3: Edge((0, 1, 2, 3, 5), _b33, _a33),
    },
)  # 576 = 9 * 64
F34 = Winograd(
    3,
    _b43,  # B^T has to do with the points alone that polynomials are evaluated at, and the factors with these, too
    np.array([[6, 0, 0, 0], [-4, -4, -4, -4], [-4, 4, -4, 4], [1, 2, 4, 8], [1, -2, 4, -8], [0, 0, 0, 12]]),
    _a34,
    inverse=F43.inverse,
    shift=F43.shift,
)
FORMS = (F43, F23, F34)


def phases(weight: np.ndarray, stride: int) -> np.ndarray:
    """Weights (O, I, K, K) of a stride as (O, stride^2 * I, r, r) without one, r = K / stride rounded up.

    Channels are ordered by the row of the phase, its column, and the channel of the input.
    """
    outputs, inputs, size, _ = weight.shape
    beyond = -size % stride
    taps = (size + beyond) // stride
    full = np.pad(weight, ((0, 0), (0, 0), (0, beyond), (0, beyond)))
    split = full.reshape(outputs, inputs, taps, stride, taps, stride).transpose(0, 3, 5, 1, 2, 4)
    return split.reshape(outputs, -1, taps, taps)


def is_exact(winograd: Winograd, weight: np.ndarray, bias: np.ndarray, activation_range: tuple[int, int]) -> bool:
    """Whether the kernel provably gives the accumulator, for every input in the range: whether all `proofs` hold."""
    return all(proof.holds for proof in proofs(winograd, weight, bias, activation_range))


def proofs(
    winograd: Winograd,
    weight: np.ndarray,
    bias: np.ndarray,
    activation_range: tuple[int, int],
    sums: bool = False,
    edges: Edges = (None, None),
) -> tuple[Proof, ...]:
    """What has to hold for the kernel to give the accumulator.

    Parameters
    ----------
    winograd : Winograd
    weight : numpy.ndarray
        int8 OIHW, as from `phases`.
    bias : numpy.ndarray
        int32 (O,).
    activation_range : (int, int)
        Least and greatest activation as stored.
    sums : bool
        Whether sums of V and U are multiplied.
    edges : (Edge or None, Edge or None)
        How the last row of tiles is computed, and the last tile of each row; None: as the others.

    Notes
    -----
    The conditions: V and U fit int16, and 2^shift * acc fits int32, by the exact worst case of the given weights.
    Everything after V and U is exact modulo 2^32, and multiplying by the inverse of the odd part turns factor^2 * acc
    into 2^shift * acc even where it wrapped.
    """
    largest_acc = int(worst_accumulators(weight, bias, activation_range).max(initial=0))
    u, (low, high) = transformed_weights(winograd, weight), _transformed_range(winograd, activation_range, edges)
    reached = max((high + u.max((2, 3), initial=0)).max(), -(low + u.min((2, 3), initial=0)).min())
    return (
        Proof("transformed activations in 16 bits", largest_activation(winograd, activation_range, edges), INT16_MAX),
        Proof("transformed weights in 16 bits", int(np.abs(u).max(initial=0)), INT16_MAX),
        *([Proof("sums of transformed activations and weights in 16 bits", int(reached), INT16_MAX)] * sums),
        Proof(f"{1 << winograd.shift} x sums in 32 bits", largest_acc << winograd.shift, INT32_MAX),
    )


def largest_activation(winograd: Winograd, activation_range: tuple[int, int], edges: Edges = (None, None)) -> int:
    """The greatest magnitude that a transformed activation can reach."""
    low, high = _transformed_range(winograd, activation_range, edges)
    return int(max(high.max(), -low.min()))


def _transformed_range(
    winograd: Winograd, activation_range: tuple[int, int], edges: Edges
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest transformed activation of each place, (alpha, alpha), in any tile."""
    down, across = (np.stack([winograd.bt_of(edge) for edge in {None, each}]) for each in edges)
    transform = np.einsum("xik,yjl->xyijkl", down, across)
    ends = np.stack([transform * end for end in activation_range])
    return ends.min(0).sum((4, 5)).min((0, 1)), ends.max(0).sum((4, 5)).max((0, 1))


def transformed_weights(winograd: Winograd, weight: np.ndarray) -> np.ndarray:
    """U = G w G^T of int8 OIHW weights, as from `phases`: int64 (alpha, alpha, O, I)."""
    return np.einsum("ik,ockl,jl->ijoc", winograd.g, weight.astype("int64"), winograd.g, optimize=True)
