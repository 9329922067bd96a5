"""Convolutions and dense layers as matrix products, a block of positions at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from tvm import relax

from ...graph.network import Node
from ..parallel import over_images
from .borders import pad_border

_BLOCK = 2**18  # elements of windows copied at a time: they stay in the second cache


@dataclass(frozen=True)
class _Geometry:
    """Attributes of a convolution of two axes."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int

    @classmethod
    def of(cls, call: relax.Call, kernel: tuple[int, ...]) -> "_Geometry":
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
    return _Geometry.of(node.expr, node.constant.shape[2:]).windows(x)


def conv2d(node: Node, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Convolution of (N, batch, C, H, W) by the node's weight, or by another of its shape; float32."""
    weight = (node.constant if weight is None else weight).astype(np.float32, copy=False)
    return _convolution(node, x, weight)


def _convolution(node: Node, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    geometry = _Geometry.of(node.expr, weight.shape[2:])
    convolve = _convolve_depthwise if weight.shape[1] == 1 else _convolve
    shape = node.shape if len(node.shape) == 4 else (*node.shape[:2], 1, node.shape[2])

    def some(x: np.ndarray) -> np.ndarray:
        out = np.empty((len(x), *shape), np.float32)
        for one, result in zip(x.reshape(-1, *x.shape[-3:]), out.reshape(-1, *shape[1:]), strict=True):
            convolve(one.astype(np.float32, copy=False), weight, geometry, result)
        return out.reshape(-1, *node.shape)

    return over_images(some, x)


def _convolve(x: np.ndarray, weight: np.ndarray, geometry: _Geometry, out: np.ndarray) -> None:
    """One image (C, H, W) into (O, OH, OW)."""
    groups, size = geometry.groups, weight[0].size
    matrix = weight.reshape(groups, -1, size)
    if geometry.is_a_product:
        np.matmul(matrix, x.reshape(groups, size, -1), out=out.reshape(groups, len(weight) // groups, -1))
        return
    windows = geometry.windows(x[None])[0]
    for rows, columns in _blocks(out.shape[1:], _BLOCK // (groups * size)):
        seen = windows[..., rows, columns].reshape(groups, size, -1)
        result = out[:, rows, columns]
        result[:] = np.matmul(matrix, seen).reshape(result.shape)


def _convolve_depthwise(x: np.ndarray, weight: np.ndarray, geometry: _Geometry, out: np.ndarray) -> None:
    """Tap by tap: matrices of one row would be slow."""
    windows = geometry.windows(x[None])[0]
    multiplier = len(weight) // geometry.groups
    step = max(1, _BLOCK // out[0].size)
    for start in range(0, len(out), step):
        some = slice(start, start + step)
        channels = np.arange(len(out))[some] // multiplier if multiplier > 1 else some
        result, scratch = out[some], np.empty_like(out[some])
        for i, (ky, kx) in enumerate(product(*map(range, geometry.kernel))):
            np.multiply(windows[channels, ky, kx], weight[some, 0, ky, kx, None, None], out=scratch if i else result)
            if i:
                result += scratch


def _blocks(extents: tuple[int, ...], count: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of so many positions: whole rows, or parts of one."""
    height, width = extents
    rows, columns = (max(1, count // width), width) if count >= width else (1, max(1, count))
    for y, x in product(range(0, height, rows), range(0, width, columns)):
        yield slice(y, y + rows), slice(x, x + columns)


def dense(node: Node, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Product of (N, rows, K) by the node's weight (K, O), or by another of its shape; float32."""
    weight = (node.constant if weight is None else weight).astype(np.float32, copy=False)
    product = np.matmul(x.reshape(-1, x.shape[-1]).astype(np.float32, copy=False), weight)
    return product.reshape(len(x), *node.shape)
