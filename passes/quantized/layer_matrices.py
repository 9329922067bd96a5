"""A layer as products of matrices: its weights, and the inputs of its output positions as columns."""

import numpy as np

from ..graph.network import Node
from .float_executor import sliding_windows


def grouped_weight(node: Node, weight: np.ndarray) -> np.ndarray:
    """Weight of a layer as (G, O / G, K)."""
    if node.op == "dense":
        return weight.T[None]
    groups = int(node.expr.attrs.groups)
    return weight.reshape(groups, len(weight) // groups, -1)


def positions(node: Node) -> int:
    """Number of output positions of a layer in one image."""
    return node.shape[2] * node.shape[3] if node.op == "conv2d" else 1


def columns(node: Node, x: np.ndarray, at: np.ndarray | slice) -> np.ndarray:
    """Windows (G, K, P) float32 of one image (1, ...) at some output positions."""
    if node.op == "dense":
        return x.reshape(1, -1, 1).astype(np.float32)
    windows = sliding_windows(x, node)[0]
    if isinstance(at, np.ndarray):
        windows = windows[(..., *np.unravel_index(at, windows.shape[-2:]))]
    return windows.reshape(int(node.expr.attrs.groups), node.constant[0].size, -1).astype(np.float32, copy=False)
