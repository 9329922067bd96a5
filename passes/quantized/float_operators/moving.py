"""Operators that only move or select elements."""

import numpy as np

from ...graph.network import Node
from ...graph.rewrite import transposed_axes


def pad(node: Node, x: np.ndarray) -> np.ndarray:
    """Zeros around."""
    widths = [int(w) for w in node.expr.attrs.pad_width]
    return np.pad(x, [(0, 0), *zip(widths[::2], widths[1::2], strict=True)])


def concat(node: Node, *inputs: np.ndarray) -> np.ndarray:
    """One behind the other; what depends on no input stands for all images."""
    axis, count = int(node.expr.attrs.axis), max(map(len, inputs))
    inputs = tuple(np.broadcast_to(x, (count, *x.shape[1:])) for x in inputs)
    return np.concatenate(inputs, axis=axis + 1 if axis >= 0 else axis)


def reshape(node: Node, x: np.ndarray) -> np.ndarray:
    """Other extents."""
    return x.reshape(len(x), *node.shape)


def permute_dims(node: Node, x: np.ndarray) -> np.ndarray:
    """Other order of axes."""
    return x.transpose(0, *(axis + 1 for axis in transposed_axes(node.expr)))


def strided_slice(node: Node, x: np.ndarray) -> np.ndarray:
    """Every so many elements of a part."""
    axes, begin, end, *strides = ([int(v.value) for v in field.fields] for field in node.expr.args[1:])
    index = [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        step = strides[0][i] if strides else 1
        stop = None if step < 0 and end[i] < 0 else end[i]
        index[axis % (x.ndim - 1) + 1] = slice(begin[i], stop, step)
    return x[tuple(index)]
