"""The Cholesky decomposition, the same bits on every machine."""

import numpy as np

_UNIT = 2.0**-26  # of the elements of a root: products of two are whole multiples of 2^-52, and their sums at most 1
_LEAST = 2.0**-18  # of a pivot
_BLOCK = 64


def exact_cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower triangular roots of positive definite matrices, up to 2^-26 of each row's length.

    With ones on the diagonal, as which matrices are decomposed here, the rows of the root have the length 1. In
    multiples of 2^-26, products of two rows are sums of multiples of 2^-52 that never exceed 1: they are exact in
    float64, in whatever order BLAS adds them up. Pivots that rounding makes too small are raised.

    Parameters
    ----------
    matrix : numpy.ndarray (..., K, K) float64
        Of which the lower triangle is read; its diagonal is positive.

    Returns
    -------
    numpy.ndarray (..., K, K) float64
    """
    lengths = np.sqrt(np.einsum("...kk->...k", matrix))
    root, k = np.zeros_like(matrix), matrix.shape[-1]
    for start in range(0, k, _BLOCK):
        block = slice(start, min(start + _BLOCK, k))
        rest = matrix[..., start:, block] / lengths[..., start:, None] / lengths[..., None, block]
        rest -= root[..., start:, :start] @ np.swapaxes(root[..., block, :start], -1, -2)
        for j in range(rest.shape[-1]):
            done = root[..., start:, start : start + j]
            column = rest[..., j:, j] - (done[..., j:, :] @ done[..., j, :, None])[..., 0]
            pivot = np.sqrt(np.maximum(column[..., :1], _LEAST))
            root[..., start + j :, start + j] = np.rint(np.clip(column / pivot, -1, 1) / _UNIT) * _UNIT
            root[..., start + j, start + j] = np.rint(pivot[..., 0] / _UNIT) * _UNIT
    return root * lengths[..., None]
