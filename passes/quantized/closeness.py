"""How close a quantized tensor is to the float one."""

import numpy as np


def mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine between two tensors (N, ...), averaged over the N images: 1 where both are zeros, 0 where one is."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    norms = np.sqrt(np.einsum("ik,ik->i", a, a)) * np.sqrt(np.einsum("ik,ik->i", b, b))
    zeros = ~(a.any(axis=1) | b.any(axis=1))
    return float(np.where(zeros, 1, ratio(np.einsum("ik,ik->i", a, b), norms)).mean())


def ratio(dots: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`dots / lengths`, 0 where a length is 0."""
    return np.divide(dots, lengths, out=np.zeros(np.shape(dots)), where=lengths > 0)
