"""Means and second moments of a layer's quantized inputs: what its output's error depends on, for any weights."""

from dataclasses import dataclass

import numpy as np

from ..graph.network import Node
from ..quantized.layer_matrices import columns, grouped_weight, output_columns, positions

# Output positions sampled per image: as many as these products of rows and K^2 (K: weights per output channel) allow.
_WORK = 2**27
_ROWS = (64, 512)


@dataclass
class Moments:
    """Over sampled output positions of a layer, whose groups have K weights per output channel.

    Attributes
    ----------
    input : (G, K) float64
        Mean of the dequantized inputs.
    output : (G, O / G) float64
        Mean of the float outputs, bias excluded.
    gram : (G, K, K) float64
        Sum of the products of two inputs, or of their deviations from the mean.
    """

    input: np.ndarray
    output: np.ndarray
    gram: np.ndarray


def input_moments(
    node: Node, quantized: np.ndarray, scale: np.float32, output: np.ndarray, centered: bool, seed: int
) -> Moments:
    """Moments for a layer; images count by `image_shares`.

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
        Whether gram is of deviations from the mean.
    seed : int
        Of the sampled positions.
    """
    groups, per_group, k = grouped_weight(node, node.constant).shape
    count = positions(node)
    rows = min(count, int(np.clip(_WORK // (groups * k * k), *_ROWS)))
    rng = np.random.default_rng(seed)
    at = [slice(None) if rows == count else rng.choice(count, rows, replace=False) for _ in quantized]
    shares = image_shares(output)

    mean, mean_output = np.zeros((groups, k)), np.zeros((groups, per_group))
    for x, o, i, share in zip(quantized, output, at, shares, strict=True):
        mean += share * columns(node, x, i).mean(axis=2, dtype=np.float64)
        mean_output += share * output_columns(node, o, i).mean(axis=2, dtype=np.float64)
    mean, mean_output = mean / shares.sum(), mean_output / shares.sum()

    center = (mean if centered else np.zeros_like(mean)).astype(np.float32)[..., None]
    gram, squares = np.zeros((groups, k, k)), np.zeros(groups)
    for x, i, share in zip(quantized, at, shares, strict=True):
        deviations = columns(node, x, i) - center  # in steps of the scale: no square leaves float32
        own = np.float32(share) * (deviations @ deviations.transpose(0, 2, 1))
        gram += own
        squares += _off_diagonal_squares(own)
    _shrink(gram, squares, len(quantized))
    return Moments(mean * np.float64(scale), mean_output, gram * np.float64(scale) ** 2)


def image_shares(output: np.ndarray) -> np.ndarray:
    """How much each image counts (N,): the more, the smaller the layer's float outputs (N, ...) are for it.

    By the inverse of their mean square: so errors count in relation to the output, as in the mean cosine. Else the
    images with the largest outputs would decide, in networks without normalization by far.
    """
    squares = np.square(output.reshape(len(output), -1), dtype=np.float64).mean(axis=1)
    shares = np.divide(1, squares, out=np.zeros(len(output)), where=squares > 0)
    return shares / shares.mean() if shares.any() else np.ones(len(output))


def _shrink(gram: np.ndarray, squares: np.ndarray, images: int) -> None:
    """Multiply what is off the diagonal of sums over images; `squares` are the sums of the squares of the summands."""
    total = _off_diagonal_squares(gram)
    variance = np.maximum(squares - total / images, 0) * images / max(images - 1, 1)
    intensity = np.minimum(np.divide(variance, total, out=np.zeros(len(gram)), where=total > 0), 1)
    diagonal = np.einsum("gkk->gk", gram).copy()
    gram *= (1 - intensity)[:, None, None]
    np.einsum("gkk->gk", gram)[:] = diagonal


def _off_diagonal_squares(matrices: np.ndarray) -> np.ndarray:
    flat, diagonal = matrices.reshape(len(matrices), -1), np.einsum("gkk->gk", matrices)
    return np.array([np.vdot(f, f) - np.vdot(d, d) for f, d in zip(flat, diagonal.copy(), strict=True)], np.float64)
