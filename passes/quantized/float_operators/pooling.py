"""Pooling: windows of height and width, tap by tap."""

from collections.abc import Callable, Iterator, Sequence
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


def pool_padding(node: Node, extents: Sequence[int]) -> tuple[int, int, int, int]:
    """Rows and columns around (H, W) that windows see: above, left, below, right, as far as ceil mode reads."""
    attrs = node.expr.attrs
    top, left = (int(p) for p in attrs.padding[:2])
    sizes = [
        (n - 1) * int(stride) + (int(k) - 1) * int(dilation) + 1
        for n, stride, k, dilation in zip(node.shape[2:], attrs.strides, attrs.pool_size, attrs.dilation, strict=True)
    ]
    return top, left, max(0, sizes[0] - top - extents[0]), max(0, sizes[1] - left - extents[1])


def pool_taps(node: Node, padded: np.ndarray) -> Iterator[np.ndarray]:
    """What each window sees at one place after the other, as views (..., OH, OW) of the padded (..., H, W)."""
    attrs = node.expr.attrs
    (kh, kw), (sy, sx), (dy, dx) = (tuple(map(int, a)) for a in (attrs.pool_size, attrs.strides, attrs.dilation))
    oh, ow = node.shape[2:]
    for ky, kx in product(range(kh), range(kw)):
        y0, x0 = ky * dy, kx * dx
        yield padded[..., y0 : y0 + (oh - 1) * sy + 1 : sy, x0 : x0 + (ow - 1) * sx + 1 : sx]


def _pool(node: Node, x: np.ndarray, fill: float, combine: Callable[..., np.ndarray]) -> np.ndarray:
    """`combine` over the taps of each window; ceil mode reads `fill` beyond the border."""
    taps = pool_taps(node, pad_border(x, pool_padding(node, x.shape[-2:]), fill))
    out = next(taps).copy()
    for tap in taps:
        combine(out, tap, out=out)
    return out
