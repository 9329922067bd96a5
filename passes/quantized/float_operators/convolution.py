"""Convolutions and dense layers as exact matrix products, a block of positions at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from tvm import relax

from ...arithmetic.exact_product import Rows, bits, sums_of_integers, units_of, whole_numbers
from ...graph.network import Node
from ..parallel import map_threads, over_images
from .borders import pad_border

_BLOCK = 2**18  # elements of windows copied at a time: they stay in the second cache
_CHANNELS = 2**15  # elements of channels of a depthwise layer worked on at a time: with what they see, too


@dataclass(frozen=True)
class Geometry:
    """Attributes of a convolution of two axes."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int

    @classmethod
    def of(cls, call: relax.Call, kernel: tuple[int, ...]) -> "Geometry":
        """Of a convolution with kernels (height, width); one of a single axis has a height of 1."""
        attrs = call.attrs
        strides, dilation, padding = (tuple(map(int, a)) for a in (attrs.strides, attrs.dilation, attrs.padding))
        if len(strides) == 1:
            strides, dilation, padding = (1, *strides), (1, *dilation), (0, padding[0], 0, padding[1])
        return cls(kernel, strides, dilation, padding, int(attrs.groups))  # type: ignore[arg-type]

    @property
    def is_a_product(self) -> bool:
        """Whether each position is multiplied by itself."""
        return self.kernel == (1, 1) and self.strides == (1, 1) and not any(self.padding)

    def windows(self, x: np.ndarray) -> np.ndarray:
        """See `sliding_windows`."""
        (kh, kw), (sy, sx), (dy, dx) = self.kernel, self.strides, self.dilation
        x = pad_border(x, self.padding, 0)
        windows = sliding_window_view(x, ((kh - 1) * dy + 1, (kw - 1) * dx + 1), axis=(2, 3))
        return windows[:, :, ::sy, ::sx, ::dy, ::dx].transpose(0, 1, 4, 5, 2, 3)


def sliding_windows(x: np.ndarray, node: Node) -> np.ndarray:
    """Windows that a conv2d node sees, as a view where it needs no padding.

    Parameters
    ----------
    x : (M, C, H, W)

    Returns
    -------
    numpy.ndarray (M, C, kernel height, kernel width, output height, output width)
    """
    return Geometry.of(node.expr, node.constant.shape[2:]).windows(x)


def conv2d(node: Node, x: np.ndarray, weight: np.ndarray | None = None, scale: np.ndarray | None = None) -> np.ndarray:
    """Convolution of (N, batch, C, H, W), shared among threads; float32, and the same bits on every machine.

    Parameters
    ----------
    weight : numpy.ndarray, optional
        Another than the node's, of its shape.
    scale : numpy.ndarray (O,), optional
        Of whole numbers: what results are multiplied by.
    """
    weight = (node.constant if weight is None else weight).astype(np.float32, copy=False)
    geometry = Geometry.of(node.expr, weight.shape[2:])
    shape = node.shape if len(node.shape) == 4 else (*node.shape[:2], 1, node.shape[2])
    out = np.empty((len(x), *node.shape), np.float32)
    images, results = x.reshape(-1, *x.shape[-3:]), out.reshape(-1, *shape[1:])
    if weight.shape[1] == 1:
        convolve = partial(_convolve_depthwise, weight, scale, geometry)
    elif scale is None:
        of_images = units_of(images.reshape(*images.shape[:2], -1), bits(weight[0].size) // 2)
        units = of_images.max(axis=0)[..., None]
        convolve = partial(_convolve, *_whole(weight, units, geometry), np.inf, geometry, units)
    else:
        matrix = weight.reshape(geometry.groups, -1, weight[0].size)
        greatest = _greatest(x, np.abs(matrix).sum(axis=2, dtype=np.float64))
        convolve = partial(_convolve, matrix, scale.reshape(geometry.groups, -1, 1), greatest, geometry, None)
    map_threads(lambda pair: convolve(*pair), zip(images, results, strict=True))
    return out


def _whole(weight: np.ndarray, units: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers (G, O / G, K) for weights of channels in such units (C, 1, 1), and the units of each result."""
    groups, size = geometry.groups, weight[0].size
    taps = size // weight.shape[1]
    matrix = weight.reshape(groups, -1, size) * units.reshape(groups, 1, -1).repeat(taps, 2)
    of_rows = units_of(matrix, bits(size, 1) // 2)
    return whole_numbers(matrix, of_rows), of_rows


def _convolve(
    matrix: np.ndarray,
    factors: np.ndarray,
    greatest: float,
    geometry: Geometry,
    units: np.ndarray | None,
    x: np.ndarray,
    out: np.ndarray,
) -> None:
    """One image (C, H, W) into (O, OH, OW), by weights (G, O / G, K) in whole numbers, as which x is taken, too.

    Results are multiplied by factors (G, O / G, 1). `units` (C, 1, 1) are those of x where it is not whole.
    """
    x = x.astype(np.float32) if units is None else whole_numbers(x, units)
    results = out.reshape(*matrix.shape[:2], -1)
    for some, seen in _seen(x, geometry, matrix.shape[2]):
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(sums_of_integers(matrix, seen, greatest), factors, out=results[..., some], casting="same_kind")


def _greatest(x: np.ndarray, sums: np.ndarray) -> float:
    """Of whole numbers and the sums of weights' magnitudes: no sum of products is greater, in whatever order."""
    return float(sums.max(initial=0)) * max(float(x.max(initial=0)), -float(x.min(initial=0)))


def _seen(x: np.ndarray, geometry: Geometry, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """What some positions of the result see, (groups, size, P), and which ones these are."""
    groups = geometry.groups
    if geometry.is_a_product:
        yield slice(None), x.reshape(groups, size, -1)
        return
    windows = geometry.windows(x[None])[0]
    height, width = windows.shape[-2:]
    for rows, columns in _blocks((height, width), _BLOCK // (groups * size)):
        seen = windows[..., rows, columns].reshape(groups, size, -1)
        first = rows.start * width + columns.start  # they are one behind the other
        yield slice(first, first + seen.shape[2]), seen


def _convolve_depthwise(
    weight: np.ndarray, scale: np.ndarray | None, geometry: Geometry, x: np.ndarray, out: np.ndarray
) -> None:
    """Tap by tap: matrices of one row would be slow."""
    windows = geometry.windows(x[None].astype(np.float32, copy=False))[0]
    multiplier = len(weight) // geometry.groups
    step = max(1, _CHANNELS // out[0].size)
    for start in range(0, len(out), step):
        some = slice(start, start + step)
        channels = np.arange(len(out))[some] // multiplier if multiplier > 1 else some
        result, scratch = out[some], np.empty_like(out[some])
        for i, (ky, kx) in enumerate(product(*map(range, geometry.kernel))):
            np.multiply(windows[channels, ky, kx], weight[some, 0, ky, kx, None, None], out=scratch if i else result)
            if i:
                result += scratch
        if scale is not None:
            result *= scale[some, None, None]


def _blocks(extents: tuple[int, ...], count: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of so many positions: whole rows, or parts of one."""
    height, width = extents
    rows, columns = (max(1, count // width), width) if count >= width else (1, max(1, count))
    for y, x in product(range(0, height, rows), range(0, width, columns)):
        yield slice(y, y + rows), slice(x, x + columns)


def dense(node: Node, x: np.ndarray, weight: np.ndarray | None = None, scale: np.ndarray | None = None) -> np.ndarray:
    """Product of (N, rows, K) by a weight (K, O); the rest as for `conv2d`."""
    weight = (node.constant if weight is None else weight).astype(np.float32, copy=False)
    rows = Rows.of(weight, len(weight)) if scale is None else None
    sums = np.abs(weight).sum(axis=0, dtype=np.float64)

    def some(x: np.ndarray) -> np.ndarray:
        matrix = x.reshape(-1, x.shape[-1])
        if rows is not None:
            product = rows.product(matrix)
        else:
            product = sums_of_integers(matrix, weight, _greatest(x, sums)) * scale
        with np.errstate(over="ignore", invalid="ignore"):
            return product.astype(np.float32, copy=False).reshape(len(x), *node.shape)

    return over_images(some, x)
