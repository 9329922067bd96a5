"""Sparse constants of TFLite files."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_DENSE = 0  # DimensionType; the other one is compressed: segments and indices


def densified(values: np.ndarray, sparsity: Any, shape: Sequence[int]) -> np.ndarray:
    """A tensor of which the file stores some of the elements.

    Parameters
    ----------
    values : numpy.ndarray (K,)
        The stored ones, in traversal order.
    sparsity : tflite.SparsityParameters
        Dimensions in traversal order, of blocks and then inside of them, each dense or compressed, as in the TACO
        compiler (Kjolstad et al., "The Tensor Algebra Compiler", section 3).
    shape : sequence of int

    Returns
    -------
    numpy.ndarray of that shape, 0 where nothing is stored
    """
    order = [sparsity.TraversalOrder(i) for i in range(sparsity.TraversalOrderLength())]
    blocked = [sparsity.BlockMap(i) for i in range(sparsity.BlockMapLength())]
    levels = [sparsity.DimMetadata(i) for i in range(sparsity.DimMetadataLength())]
    places = np.zeros((1, 0), np.int64)  # one row for each node of this level, by its indices so far
    for level in levels:
        if level.Format() == _DENSE:
            size = level.DenseSize()
            inner = np.tile(np.arange(size), len(places))
            places = np.column_stack([places.repeat(size, axis=0), inner])
        else:
            segments = _vector(level.ArraySegments(), level.ArraySegmentsType())
            inner = _vector(level.ArrayIndices(), level.ArrayIndicesType())
            places = np.column_stack([places.repeat(np.diff(segments), axis=0), inner])
    sizes = {len(shape) + i: levels[order.index(len(shape) + i)].DenseSize() for i in range(len(blocked))}
    axes = {axis: places[:, level] for level, axis in enumerate(order)}
    at = [axes[axis] for axis in range(len(shape))]
    for i, axis in enumerate(blocked):
        at[axis] = at[axis] * sizes[len(shape) + i] + axes[len(shape) + i]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(at)] = values[: len(places)]
    return dense


def _vector(table: Any, kind: int) -> np.ndarray:
    import tflite

    vector = {1: tflite.Int32Vector, 2: tflite.Uint16Vector, 3: tflite.Uint8Vector}[kind]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)
