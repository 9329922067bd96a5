"""Rounding weights so that the errors of one make up for those of others, in closed form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..arithmetic.exact_cholesky import exact_cholesky
from ..arithmetic.exact_product import Rows
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
    return search_rounding(weight, scale[..., None], [gram], limit)[0]


def search_rounding(
    weight: np.ndarray,
    candidates: np.ndarray,
    grams: Sequence[np.ndarray],
    limit: int,
    row_sums: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Round weights as `round_weights` does, for each channel with the scale of several that leaves the least error.

    Rounding to the nearest, small scales save nothing that saturation does not cost. Here the errors of saturated
    weights are made up for, too, so that they may be smaller.

    Parameters
    ----------
    weight, limit
        As for `round_weights`.
    grams : sequence of numpy.ndarray (G, P, P)
        x^T x of one part of the inputs after the other; errors in one part are not made up for in others.
    candidates : (G, O, n)
        Scales to try.
    row_sums : int, optional
        For weights (1, O, K) of kernels with three columns: of an output channel with sums of rows, g0 + g1 + g2 or
        g0 - g1 + g2, beyond that, all are to be even.

    Returns
    -------
    q : numpy.ndarray (G, O, K) int8
    scale : numpy.ndarray (G, O)
    """
    ends = np.cumsum([gram.shape[1] for gram in grams])
    slices = [slice(end - gram.shape[1], end) for gram, end in zip(grams, ends, strict=True)]
    parts = [_Part.of(weight[..., inputs], gram) for gram, inputs in zip(grams, slices, strict=True)]
    q, scale = _search(parts, np.arange(weight.shape[1]), candidates, limit)
    if row_sums is not None:
        first, middle, last = np.abs(q[0].reshape(len(q[0]), -1, 3).astype(np.int16)).transpose(2, 0, 1)
        beyond = np.flatnonzero((first + middle + last > row_sums).any(axis=1))
        if beyond.size:
            q[:, beyond], scale[:, beyond] = _search(parts, beyond, candidates, limit, even=True)
    return q, scale


def _search(
    parts: Sequence["_Part"], channels: np.ndarray, candidates: np.ndarray, limit: int, even: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What `search_rounding` gives, for some output channels, with even sums or without regard to them."""
    candidates = candidates[:, channels]
    groups, outputs, count = candidates.shape

    def some(start: int) -> tuple[np.ndarray, np.ndarray]:
        these = slice(start, start + step)
        scale = candidates[:, these].astype(np.float64)
        found = [part.rounded(channels[these], scale, limit, even) for part in parts]
        best = np.sum([errors for _, errors in found], axis=0).argmin(axis=2)
        chosen = [np.take_along_axis(q, best[:, None, :, None], 3)[..., 0] for q, _ in found]
        placed = [part.in_place(q) for part, q in zip(parts, chosen, strict=True)]
        return np.concatenate(placed, axis=1).transpose(0, 2, 1), best

    k = sum(part.weight.shape[1] for part in parts)
    step = max(_CHUNK // (groups * k * count), -(-_ROWS // (groups * count)))
    found = map_threads(some, range(0, outputs, step))
    q, best = (np.concatenate(each, axis=1) for each in zip(*found, strict=True))
    return q, np.take_along_axis(candidates, best[..., None], 2)[..., 0]


@dataclass(frozen=True)
class _Part:
    """Weights whose errors make up for each other, in the order in which they are rounded.

    Attributes
    ----------
    order : numpy.ndarray (G, K) int
    weight : numpy.ndarray (G, K, O) float64
    feedback, costs : numpy.ndarray
        See `_decomposed`.
    """

    order: np.ndarray
    weight: np.ndarray
    feedback: np.ndarray
    costs: np.ndarray

    @classmethod
    def of(cls, weight: np.ndarray, gram: np.ndarray) -> "_Part":
        """Of weights (G, O, K)."""
        order = np.argsort(-np.einsum("gkk->gk", gram), axis=1, kind="stable")
        gram = gram[np.arange(len(gram))[:, None, None], order[:, :, None], order[:, None]]
        ordered = np.take_along_axis(weight.transpose(0, 2, 1), order[:, :, None], 1).astype(np.float64)
        return cls(order, ordered, *_decomposed(gram))

    def rounded(self, channels: np.ndarray, scale: np.ndarray, limit: int, even: bool) -> tuple[np.ndarray, np.ndarray]:
        """For scales (G, C, n) of some channels, the integers (G, K, C, n) and errors (G, C, n)."""
        w = np.repeat(self.weight[:, :, channels], scale.shape[2], axis=2)
        of_rows = self._earlier_of_rows() if even else {}
        q, errors = _round(w, scale.reshape(len(scale), -1), self.feedback, self.costs, limit, of_rows)
        return q.reshape(*q.shape[:2], *scale.shape[1:]), errors.reshape(scale.shape)

    def in_place(self, q: np.ndarray) -> np.ndarray:
        """Integers (G, K, O) in the order that the weights have in the layer."""
        result = np.empty_like(q)
        np.put_along_axis(result, np.broadcast_to(self.order[:, :, None], q.shape), q, 1)
        return result

    def _earlier_of_rows(self) -> dict[int, list[int]]:
        """For the last to be rounded of each row's three weights, when the others were: of kernels in one group."""
        times = np.sort(np.argsort(self.order[0]).reshape(-1, 3), axis=1).tolist()
        return {last: earlier for *earlier, last in times}


def _decomposed(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F (G, K, K) strictly lower triangular and d (G, K), with |x e|^2 = sum of d_k (e_k + sum of F_kj e_j)^2.

    So once the errors e_j of the weights before k are known, there is a number that k had best have as its own.
    What is passed is overwritten: of thousands of inputs it has hundreds of megabytes.
    """
    mean = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
    np.einsum("gkk->gk", gram)[:] += (_RIDGE * mean + 1e-12 + (mean == 0))[:, None]
    root = exact_cholesky(gram[:, ::-1, ::-1])[:, ::-1, ::-1]  # root root^T = gram, upper triangular
    diagonal = np.einsum("gkk->gk", root).copy()
    feedback = np.divide(root.transpose(0, 2, 1), diagonal[..., None], out=gram)
    np.einsum("gkk->gk", feedback)[:] = 0
    return feedback, np.square(diagonal)


def _round(
    w: np.ndarray,
    scale: np.ndarray,
    feedback: np.ndarray,
    costs: np.ndarray,
    limit: int,
    of_rows: Mapping[int, Sequence[int]],
) -> tuple[np.ndarray, np.ndarray]:
    """Integers (G, K, R) int8 for weights (G, K, R) of such scales (G, R), and the error (G, R) of each row.

    The sum of a weight and those that `of_rows` has for it is made even.
    """
    k = w.shape[1]
    q, errors, total = np.empty(w.shape, np.int8), np.empty_like(w), np.zeros_like(scale)
    made_up = Rows(np.empty_like(w), np.ones((*w.shape[:2], 1)), k)  # the errors, of the blocks before
    for start in range(0, k, _BLOCK):
        block = slice(start, min(start + _BLOCK, k))
        known = w[:, block] - made_up.first(start).product(feedback[:, block, :start])
        for j in range(block.start, block.stop):
            recent = slice(start, j)
            wanted = known[:, j - start] - np.einsum("gj,gjr->gr", feedback[:, j, recent], errors[:, recent])
            steps = wanted / scale
            if j in of_rows:
                odd = q[:, of_rows[j]].sum(axis=1) % 2
                most = limit - (limit - odd) % 2
                rounded = np.clip(2 * np.rint((steps - odd) / 2) + odd, -most, most)
            else:
                rounded = np.clip(np.rint(steps), -limit, limit)
            q[:, j], reached = rounded, rounded * scale
            errors[:, j] = reached - w[:, j]
            total += costs[:, j, None] * np.square(reached - wanted)
        made_up.put(block, errors[:, block])
    return q, total
