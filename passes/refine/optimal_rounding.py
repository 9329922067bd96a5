"""Rounding weights so that the errors of one make up for those of others, in closed form."""

import numpy as np

from ..quantized.parallel import map_threads

_BLOCK = 64  # weights rounded before their errors are passed on to all that follow
_RIDGE = 1e-2  # added to the diagonal of gram, in parts of its mean


def round_weights(weight: np.ndarray, scale: np.ndarray, gram: np.ndarray, limit: int) -> np.ndarray:
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

    Returns
    -------
    numpy.ndarray (G, O, K) int8
    """
    return search_rounding(weight, scale[..., None], gram, limit)[0]


def search_rounding(
    weight: np.ndarray, candidates: np.ndarray, gram: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Round weights as `round_weights` does, for each channel with the scale of several that leaves the least error.

    Rounding to the nearest, small scales save nothing that saturation does not cost. Here the errors of saturated
    weights are made up for, too, so that they may be smaller.

    Parameters
    ----------
    weight, gram, limit
        As for `round_weights`.
    candidates : (G, O, n)
        Scales to try.

    Returns
    -------
    q : numpy.ndarray (G, O, K) int8
    scale : numpy.ndarray (G, O)
    """
    order = np.argsort(-np.einsum("gkk->gk", gram), axis=1, kind="stable")
    gram = np.take_along_axis(np.take_along_axis(_damped(gram), order[:, :, None], 1), order[:, None], 2)
    # U with U^T U = gram^-1: row j says how the weights after j make up for an error of j
    passed_on = np.linalg.cholesky(np.linalg.inv(gram)).transpose(0, 2, 1)
    weight = np.take_along_axis(weight.astype(np.float64), order[:, None], 2)

    def rounded(n: int) -> tuple[np.ndarray, np.ndarray]:
        scale = candidates[..., n].astype(np.float64)
        q = _round(weight, scale, passed_on, limit)
        error = q * scale[..., None] - weight
        return q.astype(np.int8), np.einsum("gok,gok->go", error @ gram, error)

    found = map_threads(rounded, range(candidates.shape[2]))
    best = np.argmin([error for _, error in found], axis=0)[..., None]
    chosen = found[0][0]
    for n, (q, _) in enumerate(found):
        chosen = np.where(best == n, q, chosen)
    result = np.empty_like(chosen)
    np.put_along_axis(result, np.broadcast_to(order[:, None], chosen.shape), chosen, 2)
    return result, np.take_along_axis(candidates, best, 2)[..., 0]


def _round(weight: np.ndarray, scale: np.ndarray, passed_on: np.ndarray, limit: int) -> np.ndarray:
    """Whole numbers (G, O, K), in the order of the weights."""
    w, q, k = weight.copy(), np.empty_like(weight), weight.shape[2]
    for start in range(0, k, _BLOCK):
        block = slice(start, min(start + _BLOCK, k))
        errors = np.zeros((*w.shape[:2], block.stop - start))
        for j in range(start, block.stop):
            q[..., j] = np.clip(np.rint(w[..., j] / scale), -limit, limit)
            error = (w[..., j] - q[..., j] * scale) / passed_on[:, None, j, j]
            w[..., j : block.stop] -= error[..., None] * passed_on[:, None, j, j : block.stop]
            errors[..., j - start] = error
        w[..., block.stop :] -= errors @ passed_on[:, block, block.stop :]
    return q


def _damped(gram: np.ndarray) -> np.ndarray:
    k = gram.shape[1]
    mean = np.trace(gram, axis1=1, axis2=2) / k
    return gram + (_RIDGE * mean + 1e-12 + (mean == 0))[:, None, None] * np.eye(k)
