"""Second moments of a layer's quantized inputs: what its output's error depends on, for any weights."""

from itertools import pairwise

import numpy as np

from ..arithmetic.exact_product import sums_of_integers
from ..graph.network import Node
from ..quantized.layer_matrices import columns, grouped_weight, positions
from ..quantized.parallel import map_threads, over_images

# Output positions sampled per image: as many as these products of rows and K^2 (K: weights per output channel) allow,
# and more where there are fewer images than usual.
_WORK = 2**27
_ROWS = (64, 512)
_ELEMENTS = 2**20  # of the inputs at these positions, in one image
_USUAL = 50
_LARGEST = 4608  # inputs whose products are summed: those of a kernel of 3x3 on 512 channels
_GRAM_ROWS = 256  # of a sum of products, computed at a time


def input_moments(
    node: Node, quantized: np.ndarray, scale: np.float32, output: np.ndarray, centered: bool, seed: int
) -> list[np.ndarray]:
    """Products of a layer's inputs, whose groups have K weights per output channel; images count by `image_shares`.

    Some tens of images say less of products than of squares, the less the more inputs there are: a dense layer of
    thousands of them has one position in each image. So products of two different inputs are shrunk towards 0 by how
    much they differ between images: the intensity with the least expected square error (Ledoit and Wolf, A
    well-conditioned estimator for large-dimensional covariance matrices, 2004, here towards the diagonal).

    Parameters
    ----------
    node : Node
        A conv2d or dense node.
    quantized : (N, *input shape) integers
        Its input in the quantized network, of that scale.
    output : (N, *output shape) float32
        Its output in the float network.
    centered : bool
        Whether they are of deviations from the mean.
    seed : int
        Of the sampled positions.

    Returns
    -------
    list of numpy.ndarray (G, P, P) float64
        For one part of the K inputs after the other, the sum of the products of two inputs. There are several parts
        where K is in the thousands: the work grows with its cube.
    """
    groups, _, k = grouped_weight(node, node.constant).shape
    count = positions(node)
    allowed = min(_WORK // (groups * k * k), _ELEMENTS // (groups * k))
    rows = int(np.clip(allowed, *_ROWS) * max(1, _USUAL / len(quantized)))
    rows = min(count, rows)
    rng = np.random.default_rng(seed)
    at = [slice(None) if rows == count else rng.choice(count, rows, replace=False) for _ in quantized]
    shares = image_shares(output)
    inputs = map_threads(lambda pair: columns(node, *pair), zip(quantized, at, strict=True))

    rest = np.zeros((groups, k, 1), np.float32)
    if centered:  # in steps of the scale: no square leaves float32
        means = (share * x.mean(axis=2, dtype=np.float64) for x, share in zip(inputs, shares, strict=True))
        center = (sum(means) / shares.sum())[..., None]
        whole = np.rint(center).astype(np.float32)
        rest = (center - whole).astype(np.float32)
        map_threads(lambda x: np.subtract(x, whole, out=x), inputs)
    parts = [([x[:, at] for x in inputs], rest[:, at]) for at in _parts(k, int(np.prod(node.constant.shape[2:])))]
    grams = [_sum_of_products(part, rest_of_center, shares) for part, rest_of_center in parts]
    for gram in grams:
        gram *= np.float64(scale) ** 2
    return grams


def _parts(k: int, taps: int) -> list[slice]:
    """Of whole kernels, of so many taps: as equal as possible."""
    ends = np.linspace(0, k // taps, -(-k // _LARGEST) + 1).astype(int) * taps
    return [slice(*pair) for pair in pairwise(ends)]


def image_shares(output: np.ndarray) -> np.ndarray:
    """How much each image counts (N,): the more, the smaller the layer's float outputs (N, ...) are for it.

    By the inverse of their mean square: so errors count in relation to the output, as in the mean cosine. Else the
    images with the largest outputs would decide, in networks without normalization by far.
    """
    squares = over_images(
        lambda x: np.einsum("ij,ij->i", x, x, dtype=np.float64), output.reshape(len(output), -1)
    ) / max(output[0].size, 1)
    shares = np.divide(1, squares, out=np.zeros(len(output)), where=squares > 0)
    return shares / shares.mean() if shares.any() else np.ones(len(output))


def _sum_of_products(inputs: list[np.ndarray], rest: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Sum over the images' x (G, K, P) of `share` (x - rest) (x - rest)^T, shrunk.

    Some rows of it at a time, which threads share. x are whole numbers, `rest` (G, K, 1) is below 1.
    """
    sums = [x.sum(axis=2, keepdims=True) for x in inputs]
    # no sum of products is greater than that of squares
    greatest = max(float(np.einsum("gkp,gkp->gk", x, x, dtype=np.float64).max(initial=0)) for x in inputs)

    def some(start: int) -> tuple[np.ndarray, np.ndarray]:
        block = slice(start, start + _GRAM_ROWS)
        gram, squares = np.zeros((*inputs[0][:, block].shape[:2], inputs[0].shape[1])), np.zeros(len(inputs[0]))
        for x, total, share in zip(inputs, sums, shares, strict=True):
            own = sums_of_integers(x[:, block], x.transpose(0, 2, 1), greatest).astype(np.float32, copy=False)
            if rest.any():
                own += rest[:, block] * (x.shape[2] * rest - total).transpose(0, 2, 1)
                own -= total[:, block] * rest.transpose(0, 2, 1)
            own *= np.float32(share)
            gram += own
            squares += _off_diagonal_squares(own, start)
        return gram, squares

    parts = map_threads(some, range(0, inputs[0].shape[1], _GRAM_ROWS))
    gram = np.concatenate([rows for rows, _ in parts], axis=1)
    _shrink(gram, np.sum([squares for _, squares in parts], axis=0), len(inputs))
    return gram


def _shrink(gram: np.ndarray, squares: np.ndarray, images: int) -> None:
    """Multiply what is off the diagonal of sums over images; `squares` are the sums of the squares of the summands."""
    total = _off_diagonal_squares(gram)
    variance = np.maximum(squares - total / images, 0) * images / max(images - 1, 1)
    intensity = np.minimum(np.divide(variance, total, out=np.zeros(len(gram)), where=total > 0), 1)
    diagonal = np.einsum("gkk->gk", gram).copy()
    gram *= (1 - intensity)[:, None, None]
    np.einsum("gkk->gk", gram)[:] = diagonal


def _off_diagonal_squares(rows: np.ndarray, first: int = 0) -> np.ndarray:
    """Of some rows (G, R, K) of matrices, from a first one on: the sum (G,) over what is off the diagonals."""
    flat, diagonals = rows.reshape(len(rows), -1), np.diagonal(rows, first, 1, 2)
    of_all, of_diagonals = (np.einsum("gi,gi->g", x, x) for x in (flat, diagonals))
    return (of_all - of_diagonals).astype(np.float64)
