"""Rounding weights so that the errors of one make up for those of others, in closed form."""

import numpy as np

_BLOCK = 64  # weights rounded before their errors are passed on to all that follow


def round_weights(
    weight: np.ndarray, scale: np.ndarray, gram: np.ndarray, limit: int, ridge: float = 1e-2
) -> np.ndarray:
    """Round weights one after the other, each error made up for by those not yet rounded.

    Minimizes |x (w - q s)|^2 greedily: Frantar et al., GPTQ (arXiv 2210.17323, algorithm 1), from the optimal brain
    surgeon (arXiv 2208.11580). Weights of larger inputs come first.

    Parameters
    ----------
    weight : (G, O, K)
    scale : (G, O)
    gram : (G, K, K) float64
        x^T x of the layer's inputs.
    limit : int
        Integers lie in [-limit, limit].
    ridge : float
        Added to gram's diagonal, in parts of its mean.

    Returns
    -------
    numpy.ndarray (G, O, K) float64
        Whole numbers q.
    """
    order = np.argsort(-np.einsum("gkk->gk", gram), axis=1, kind="stable")
    rows = order[:, :, None]
    gram = np.take_along_axis(np.take_along_axis(_damped(gram, ridge), rows, 1), order[:, None], 2)
    # U with U^T U = gram^-1: row j says how the weights after j make up for an error of j
    passed_on = np.linalg.cholesky(np.linalg.inv(gram)).transpose(0, 2, 1)
    w = np.take_along_axis(weight.astype(np.float64), order[:, None], 2)
    q = np.empty_like(w)
    k = w.shape[2]
    for start in range(0, k, _BLOCK):
        block = slice(start, min(start + _BLOCK, k))
        errors = np.zeros((*w.shape[:2], block.stop - start))
        for j in range(start, block.stop):
            q[..., j] = np.clip(np.rint(w[..., j] / scale), -limit, limit)
            error = (w[..., j] - q[..., j] * scale) / passed_on[:, None, j, j]
            w[..., j : block.stop] -= error[..., None] * passed_on[:, None, j, j : block.stop]
            errors[..., j - start] = error
        w[..., block.stop :] -= errors @ passed_on[:, block, block.stop :]
    result = np.empty_like(q)
    np.put_along_axis(result, np.broadcast_to(order[:, None], q.shape), q, 2)
    return result


def _damped(gram: np.ndarray, ridge: float) -> np.ndarray:
    k = gram.shape[1]
    mean = np.trace(gram, axis1=1, axis2=2) / k
    return gram + (ridge * mean + 1e-12 + (mean == 0))[:, None, None] * np.eye(k)
