"""Pooling: windows of height and width, tap by tap."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import tvm

from ...graph.network import Node
from .borders import pad_border


def max_pool2d(node: Node, x: np.ndarray) -> np.ndarray:
    """The largest of each window."""
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return _pool(node, x, lowest, np.maximum)


def avg_pool_count(node: Node, x_shape: tuple[int, ...]) -> np.ndarray | int:
    """Number of elements that each output of an average (pool or mean) divides by."""
    if node.computes == "mean":
        return x_shape[-2] * x_shape[-1]
    return window_sizes(node.expr.attrs, x_shape[-2:], node.shape[-2:])


def window_sizes(attrs: tvm.ir.Attrs, extents: Sequence[int], out: Sequence[int]) -> np.ndarray:
    """int64 (OH, OW): the number that each window's sum of a pooling of (H, W) is divided by.

    Padding counts where the operator says so; what ceil mode reads beyond it does not.
    """
    sizes = []
    for axis in range(2):
        before, after = int(attrs.padding[axis]), int(attrs.padding[axis + 2])
        first = np.arange(out[axis])[:, None] * int(attrs.strides[axis]) - before
        elements = first + np.arange(int(attrs.pool_size[axis])) * int(attrs.dilation[axis])
        low, high = (-before, extents[axis] + after) if attrs.count_include_pad else (0, extents[axis])
        sizes.append(((elements >= low) & (elements < high)).sum(1))
    return np.outer(*sizes)


def window_sum(node: Node, x: np.ndarray) -> np.ndarray:
    """Sums that an average (pool or mean) divides."""
    if node.computes == "mean":
        return x.sum(axis=(-2, -1), keepdims=True, dtype=np.float32)
    return _pool(node, x.astype(np.float32, copy=False), 0, np.add)


def average(node: Node, x: np.ndarray) -> np.ndarray:
    """The mean of each window."""
    return window_sum(node, x) / np.float32(avg_pool_count(node, x.shape))


def _pool(node: Node, x: np.ndarray, fill: float, combine: Callable[..., np.ndarray]) -> np.ndarray:
    """`combine` over the taps of each window; ceil mode reads `fill` beyond the border."""
    attrs = node.expr.attrs
    (kh, kw), (sy, sx), (dy, dx) = (tuple(map(int, a)) for a in (attrs.pool_size, attrs.strides, attrs.dilation))
    top, left, bottom, right = (int(p) for p in attrs.padding)
    oh, ow = node.shape[2:]
    height, width = (oh - 1) * sy + (kh - 1) * dy + 1, (ow - 1) * sx + (kw - 1) * dx + 1
    bottom, right = max(0, height - top - x.shape[-2]), max(0, width - left - x.shape[-1])
    x = pad_border(x, (top, left, bottom, right), fill)

    def tap(ky: int, kx: int) -> np.ndarray:
        y0, x0 = ky * dy, kx * dx
        return x[..., y0 : y0 + (oh - 1) * sy + 1 : sy, x0 : x0 + (ow - 1) * sx + 1 : sx]

    out = tap(0, 0).copy()
    for ky, kx in product(range(kh), range(kw)):
        if (ky, kx) != (0, 0):
            combine(out, tap(ky, kx), out=out)
    return out
