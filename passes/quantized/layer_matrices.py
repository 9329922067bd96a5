"""A layer as products of matrices: its weights, and the inputs and outputs of its positions as columns."""

import numpy as np

from ..graph.network import Node
from .float_operators.convolution import sliding_windows


def grouped_weight(node: Node, weight: np.ndarray) -> np.ndarray:
    """Weight of a layer as (G, O / G, K)."""
    if node.op == "dense":
        return weight.T[None]
    groups = int(node.expr.attrs.groups)
    return weight.reshape(groups, len(weight) // groups, -1)


def read_channels(node: Node, channels: int) -> np.ndarray:
    """The input channel that each weight of an output channel is for: int (O, channels per group), (1, ...) for all."""
    groups = 1 if node.op == "dense" else int(node.expr.attrs.groups)
    return np.repeat(np.arange(channels).reshape(groups, -1), node.shape[1] // groups if groups > 1 else 1, axis=0)


def by_channel(x: np.ndarray) -> np.ndarray:
    """Activations of N images, (N, batch, C, ...), as (N, C, rest)."""
    return np.moveaxis(x, 1, 2).reshape(len(x), x.shape[2], -1)


def positions(node: Node) -> int:
    """Number of output positions of a layer in one image: the pixels of its batch, or the rows of a dense layer."""
    return int(np.prod(node.shape)) // node.shape[1]


def columns(node: Node, x: np.ndarray, at: np.ndarray | slice) -> np.ndarray:
    """Windows (G, K, P) float32 of one image, (batch, ...) as the layer reads it, at some output positions."""
    if node.op == "dense":
        return x.reshape(-1, len(node.constant)).T[None][..., at].astype(np.float32)
    windows = sliding_windows(x, node)
    batch, *taps, height, width = windows.shape
    windows = windows[0] if batch == 1 else windows.transpose(1, 2, 3, 0, 4, 5).reshape(*taps, batch * height, width)
    if isinstance(at, np.ndarray):
        row, column = np.unravel_index(at, windows.shape[-2:])
        windows = windows[..., row, column]
    return windows.reshape(int(node.expr.attrs.groups), node.constant[0].size, -1).astype(np.float32, copy=False)


def output_columns(node: Node, output: np.ndarray, at: np.ndarray | slice) -> np.ndarray:
    """What a layer makes of `columns`: its output (batch, O, ...) for one image as (G, O / G, P)."""
    groups, per_group, _ = grouped_weight(node, node.constant).shape
    return np.moveaxis(output, 1, 0).reshape(groups, per_group, -1)[..., at]
