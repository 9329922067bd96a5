"""Convolutions and dense layers with what they pass back to their inputs and weights."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from ...graph.network import Node
from ..float_operators.borders import pad_border
from ..float_operators.convolution import Geometry
from .depthwise import depthwise, depthwise_back

# Of the gradient of a result, those of the input and of the weight.
Back = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def conv2d(node: Node, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Back]:
    """Convolution of (N, batch, C, H, W) float32 by weights (O, C / groups, KH, KW)."""
    geometry = Geometry.of(node.expr, weight.shape[2:])
    images = x.reshape(-1, *x.shape[-3:])
    compute = _depthwise if geometry.groups == len(weight) == images.shape[1] else _grouped
    result, back = compute(geometry, images, weight, (node.shape[2], node.shape[3]))

    def whole(gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_input, of_weight = back(gradient.reshape(result.shape))
        return of_input.reshape(x.shape), of_weight

    return result.reshape(len(x), *node.shape), whole


def dense(node: Node, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Back]:
    """Product of (N, rows, K) by a weight (K, O)."""
    rows = x.reshape(-1, x.shape[-1])

    def back(gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_rows = gradient.reshape(len(rows), -1)
        return (of_rows @ weight.T).reshape(x.shape), rows.T @ of_rows

    return (rows @ weight).reshape(len(x), *node.shape), back


def _taps(geometry: Geometry, padded: np.ndarray, extents: tuple[int, int]) -> Iterator[np.ndarray]:
    """What each window of padded (..., H, W) sees at each place of the kernel, as views (..., OH, OW)."""
    (dy, dx), (sy, sx), (height, width) = geometry.dilation, geometry.strides, extents
    for ky, kx in product(*map(range, geometry.kernel)):
        y, x = ky * dy, kx * dx
        yield padded[..., y : y + (height - 1) * sy + 1 : sy, x : x + (width - 1) * sx + 1 : sx]


def _unpadded(geometry: Geometry, whole: np.ndarray, extents: tuple[int, ...]) -> np.ndarray:
    top, left = geometry.padding[:2]
    return whole[..., top : top + extents[0], left : left + extents[1]]


def _grouped(
    geometry: Geometry, x: np.ndarray, weight: np.ndarray, extents: tuple[int, int]
) -> tuple[np.ndarray, Back]:
    """By one product of matrices for each image and group."""
    count, groups = len(x), geometry.groups
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    size = matrix.shape[2]
    seen = x if geometry.is_a_product else geometry.windows(x)
    columns = seen.reshape(count, groups, size, -1)
    result = (matrix @ columns).reshape(count, len(weight), *extents)

    def back(gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_result = gradient.reshape(count, groups, -1, columns.shape[3])
        of_weight = _summed_products(of_result, columns)
        of_columns = matrix.swapaxes(1, 2) @ of_result
        if geometry.is_a_product:
            return of_columns.reshape(x.shape), of_weight.reshape(weight.shape)
        of_taps = of_columns.reshape(count, x.shape[1], -1, *extents)
        whole = np.zeros_like(pad_border(x, geometry.padding, 0))
        for k, part in enumerate(_taps(geometry, whole, extents)):
            part += of_taps[:, :, k]
        return _unpadded(geometry, whole, x.shape[2:]), of_weight.reshape(weight.shape)

    return result, back


def _depthwise(
    geometry: Geometry, x: np.ndarray, weight: np.ndarray, extents: tuple[int, int]
) -> tuple[np.ndarray, Back]:
    whole = np.ascontiguousarray(pad_border(x, geometry.padding, 0))
    kernels = np.require(weight[:, 0], np.float32, ["C", "W"])

    def back(gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_input, of_weight = depthwise_back(geometry, whole, kernels, np.ascontiguousarray(gradient))
        return _unpadded(geometry, of_input, x.shape[2:]), of_weight.reshape(weight.shape)

    return depthwise(geometry, whole, kernels, extents), back


def _summed_products(gradients: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Of (N, G, O, P) and (N, G, K, P), each (O, K) summed over images, in their order: (G, O, K)."""
    result = gradients[0] @ columns[0].swapaxes(1, 2)
    for gradient, seen in zip(gradients[1:], columns[1:], strict=True):
        result += gradient @ seen.swapaxes(1, 2)
    return result
