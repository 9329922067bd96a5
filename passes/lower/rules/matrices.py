"""The lowering rule of products of matrices that are both activations."""

import math
from collections.abc import Sequence

from tvm import relax

from ..lowered_values import MatrixProduct
from ..lowering import Lowering
from ..rearranged import Rearranged

_STORED = ("gnk", "ngk", "gkn", "kgn")  # orders of the second operand's axes: as they may come, the first by preference

_INT8_MAX = 127  # bytes that are never negative are uint8 on some processors, whatever they hold


def matrix_product(low: Lowering, call: relax.Call) -> MatrixProduct | None:
    """`matmul` of quantized tensors (..., M, K) and (..., K, N), the second one of integers that int8 holds."""
    first, second = (low.view(arg) for arg in call.args)
    if first is None or second is None or not (first.source.quantized and second.source.quantized):
        return None
    *axes, rows, depth = first.shape
    fits = second.source.dtype == "int8" or (second.source.dtype == "uint8" and second.source.high <= _INT8_MAX)
    if not fits or first.source.zero or second.source.zero or second.shape[:-2] != tuple(axes):
        return None
    pairs, rank = math.prod(axes), len(axes)
    left = first.permuted([rank, *range(rank), rank + 1]).reshaped((rows, pairs * depth))
    right = second.reshaped((pairs, *second.shape[-2:]))
    assert left is not None and right is not None, "axes can always be joined"
    order = next((order for order in _STORED if _moves(right, order) == 1), _STORED[0])
    return MatrixProduct(low.name, low.moved(left), low.moved(right.permuted(_axes(order))), order, tuple(axes))


def _axes(order: str) -> Sequence[int]:
    return ["gkn".index(axis) for axis in order]


def _moves(right: Rearranged, order: str) -> int:
    return len(right.permuted(_axes(order)).runs(False))
