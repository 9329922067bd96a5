"""Rounding weights so that the errors of one make up for those of others, in closed form."""

import numpy as np

from ..quantized.parallel import map_threads

_BLOCK = 32  # weights rounded one by one, before all that follow learn of their errors in one product
_CHUNK = 2**21  # weights, times candidates, worked on at a time
_ROWS = 512  # at least so many channels, times candidates, at a time: numpy takes as long for fewer
_RIDGE = 1e-2  # added to the diagonal of gram, in parts of its mean


def round_weights(weight: np.ndarray, scale: np.ndarray, gram: np.ndarray, limit: int) -> np.ndarray:
    """Round weights one after the other, each error made up for by those not yet rounded.

    Minimizes |x (w - q s)|^2 greedily: Frantar et al., GPTQ (arXiv 2210.17323, algorithm 1), from the optimal brain
    surgeon (arXiv 2208.11580). Weights of larger inputs come first.

    Computed as LDLQ (Chee et al., QuIP, arXiv 2307.13304, section 3 and theorem 6: it rounds to the same numbers),
    which needs one Cholesky decomposition, no inverse, and tells the error on the way.

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
    groups, outputs, k = weight.shape
    count = candidates.shape[2]
    order = np.argsort(-np.einsum("gkk->gk", gram), axis=1, kind="stable")
    gram = np.take_along_axis(np.take_along_axis(gram, order[:, :, None], 1), order[:, None], 2)
    feedback, costs = _decomposed(gram)
    ordered = np.take_along_axis(weight.transpose(0, 2, 1), order[:, :, None], 1).astype(np.float64)

    def some(start: int) -> tuple[np.ndarray, np.ndarray]:
        channels = slice(start, start + step)
        scale = candidates[:, channels].astype(np.float64)
        rows = (groups, scale.shape[1], count)
        w = np.repeat(ordered[:, :, channels], count, axis=2)
        q, errors = _round(w, scale.reshape(groups, -1), feedback, costs, limit)
        best = errors.reshape(rows).argmin(axis=2)
        return np.take_along_axis(q.reshape(groups, k, *rows[1:]), best[:, None, :, None], 3)[..., 0], best

    step = max(_CHUNK // (groups * k * count), -(-_ROWS // (groups * count)))
    found = map_threads(some, range(0, outputs, step))
    q, best = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    result = np.empty_like(q)
    np.put_along_axis(result, np.broadcast_to(order[:, :, None], q.shape), q, 1)
    return np.ascontiguousarray(result.transpose(0, 2, 1)), np.take_along_axis(candidates, best[..., None], 2)[..., 0]


def _decomposed(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F (G, K, K) strictly lower triangular and d (G, K), with |x e|^2 = sum of d_k (e_k + sum of F_kj e_j)^2.

    So once the errors e_j of the weights before k are known, there is a number that k had best have as its own.
    """
    k = gram.shape[1]
    mean = np.trace(gram, axis1=1, axis2=2) / k
    damped = gram + (_RIDGE * mean + 1e-12 + (mean == 0))[:, None, None] * np.eye(k)
    root = np.linalg.cholesky(damped[:, ::-1, ::-1])[:, ::-1, ::-1]  # root root^T = damped, upper triangular
    diagonal = np.einsum("gkk->gk", root)
    feedback = (root / diagonal[:, None]).transpose(0, 2, 1) - np.eye(k)
    return np.ascontiguousarray(feedback), np.square(diagonal)


def _round(
    w: np.ndarray, scale: np.ndarray, feedback: np.ndarray, costs: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Integers (G, K, R) int8 for weights (G, K, R) of such scales (G, R), and the error (G, R) of each row."""
    k = w.shape[1]
    q, errors, total = np.empty(w.shape, np.int8), np.empty_like(w), np.zeros_like(scale)
    for start in range(0, k, _BLOCK):
        block = slice(start, min(start + _BLOCK, k))
        known = w[:, block] - feedback[:, block, :start] @ errors[:, :start]
        for j in range(block.start, block.stop):
            recent = slice(start, j)
            wanted = known[:, j - start] - (feedback[:, j, None, recent] @ errors[:, recent])[:, 0]
            rounded = np.clip(np.rint(wanted / scale), -limit, limit)
            q[:, j], reached = rounded, rounded * scale
            errors[:, j] = reached - w[:, j]
            total += costs[:, j, None] * np.square(reached - wanted)
    return q, total
