"""How like two tensors are: Pearson's correlation, and the order of scores."""

from dataclasses import dataclass

import numpy as np


def mean_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two tensors (N, ...), averaged over the N images.

    Of an image where one is constant it is 0, where both are, 1.
    """
    a, b = (_centered(x.reshape(len(x), -1)) for x in (a, b))
    dots, ours, theirs = (np.einsum("ni,ni->n", *pair) for pair in ((a, b), (a, a), (b, b)))
    constant = (ours == 0) & (theirs == 0)
    return float(np.where(constant, 1.0, ratio_of(dots, ours * theirs)).mean())


def ratio_of(dots: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """`dots / sqrt(squares)`, 0 where that is 0 / 0."""
    return np.divide(dots, np.sqrt(squares), out=np.zeros(np.shape(dots)), where=squares > 0)


def _centered(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x - x.mean(axis=1, keepdims=True)


@dataclass(frozen=True)
class Order:
    """What scores lose that are ordered otherwise than in the float network (arXiv 2106.14156, equation 8).

    For two scores of a row, the float ones of which are a and b, it is max(0, theta - (a' - b') sign(a - b)) of the
    quantized ones a', b'.

    Attributes
    ----------
    pairs : (2, S) int
        Places in a row, two of which are compared.
    gamma, theta : float
    """

    pairs: np.ndarray
    gamma: float
    theta: float

    def loss(self, scores: np.ndarray, expected: np.ndarray) -> float:
        """`gamma` times the mean over rows and pairs, for scores (..., P) and those of the float network."""
        first, second = self.pairs
        apart = scores[..., first] - scores[..., second]
        apart *= np.sign(expected[..., first] - expected[..., second])
        return self.gamma * float(np.maximum(self.theta - apart, 0).mean(dtype=np.float64))
