"""How close a quantized tensor is to the float one."""

import numpy as np

from .parallel import map_threads


def mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine between two tensors (N, ...), averaged over the N images: 1 where both are zeros, 0 where one is."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)

    def products(i: int) -> np.ndarray:
        pairs = (a[i], b[i]), (a[i], a[i]), (b[i], b[i])
        found = np.array([np.einsum("k,k->", *pair) for pair in pairs], np.float64)
        if np.isfinite(found).all() and found[1:].all():
            return found
        return np.array([np.einsum("k,k->", *pair, dtype=np.float64) for pair in pairs])  # squares beyond float32

    dots, ours, theirs = np.array(map_threads(products, range(len(a)))).T
    cosines = ratio(dots, np.sqrt(ours) * np.sqrt(theirs))
    return float(np.where((ours == 0) & (theirs == 0), 1, cosines).mean())


def ratio(dots: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`dots / lengths`, 0 where a length is 0."""
    return np.divide(dots, lengths, out=np.zeros(np.shape(dots)), where=lengths > 0)
