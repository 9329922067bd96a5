"""Where each row and column of a resized image comes from (docs/integer-program.md)."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

import numpy as np
import tvm
from tvm import relax

from eq_tvm.schedules.operators.resize import WEIGHT_BITS, WIDE_WEIGHT_BITS

from .rewrite import shape

# The coordinate in an axis of n elements that element i of the resized axis of m elements has.
_COORDINATES: dict[str, Callable[[int, int, int], Fraction]] = {
    "half_pixel": lambda i, n, m: Fraction((2 * i + 1) * n - m, 2 * m),
    "pytorch_half_pixel": lambda i, n, m: Fraction((2 * i + 1) * n - m, 2 * m) if m > 1 else Fraction(0),
    "align_corners": lambda i, n, m: Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0),
    "asymmetric": lambda i, n, m: Fraction(i * n, m),
}
_HALF = Fraction(1, 2)
_ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "round": round,  # half to even
    "round_prefer_floor": lambda x: ceil(x - _HALF),
    "round_prefer_ceil": lambda x: floor(x + _HALF),
    "floor": floor,
    "ceil": ceil,
}


def is_bilinear(call: relax.Call) -> bool:
    """Whether an `image.resize2d` averages neighbours, rather than taking the nearest."""
    return str(call.attrs.method) == "linear"


def is_exact(call: relax.Call) -> bool:
    """Whether `image.resize2d` moves or averages elements of an NCHW tensor in a way that integers can follow."""
    attrs = call.attrs
    known = attrs.coordinate_transformation_mode in _COORDINATES and attrs.layout == "NCHW"
    return known and (is_bilinear(call) or (attrs.method == "nearest_neighbor" and _rounding(attrs) in _ROUNDINGS))


def sources(call: relax.Call) -> list[np.ndarray]:
    """For the rows and for the columns of a nearest resizing's result: which one each of them is, int32 (OH,)."""
    rounding = _ROUNDINGS[_rounding(call.attrs)]
    return [np.array([min(max(rounding(x), 0), n - 1) for x in found], "int32") for n, found in _coordinates(call)]


def weight_bits(greatest: int) -> int:
    """Of the weights by which integers up to this magnitude are averaged."""
    return WEIGHT_BITS if greatest <= np.iinfo(np.uint8).max else WIDE_WEIGHT_BITS


def weights(call: relax.Call, bits: int) -> list[np.ndarray]:
    """For the rows and for the columns of a bilinear resizing's result: int32 (OH, 3).

    Two rows of the operand, and the second one's weight; both together weigh 2^bits.
    """
    return [
        np.column_stack([places, [round(part * 2**bits) for part in parts]]).astype("int32")
        for places, parts in _neighbours(call)
    ]


def real_weights(call: relax.Call) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The same for floats: two rows of the operand, int32 (OH, 2), and the second one's share, float32 (OH,)."""
    places, parts = zip(*_neighbours(call), strict=True)
    return list(places), [np.array(part, "float32") for part in parts]


def resize(call: relax.Call, x: np.ndarray) -> np.ndarray:
    """(..., H, W) floats, or integers as the integer program has it: int32 where their range is wider than bytes."""
    if not is_bilinear(call):
        rows, columns = sources(call)
        return x[..., rows, :][..., columns]
    wide, bits = x.astype(np.float64), WIDE_WEIGHT_BITS if x.dtype == np.int32 else WEIGHT_BITS
    for axis, (first, second, weight) in zip((-2, -1), (table.T for table in weights(call, bits)), strict=True):
        weight = weight[:, None] if axis == -2 else weight
        wide = wide.take(first, axis) * (2**bits - weight) + wide.take(second, axis) * weight
    wide /= 4**bits
    return (wide if x.dtype.kind == "f" else np.floor(wide + 0.5)).astype(x.dtype)


def _rounding(attrs: tvm.ir.Attrs) -> str:
    default = "round" if attrs.coordinate_transformation_mode == "align_corners" else "floor"
    return str(attrs.rounding_method) or default


def _neighbours(call: relax.Call) -> list[tuple[np.ndarray, list[Fraction]]]:
    """For rows and columns: the two of the operand that each is between, int32 (OH, 2), and how far from the first."""
    return [
        (
            np.array([[min(max(floor(x) + side, 0), n - 1) for side in (0, 1)] for x in found], "int32"),
            [x % 1 for x in found],
        )
        for n, found in _coordinates(call)
    ]


def _coordinates(call: relax.Call) -> list[tuple[int, list[Fraction]]]:
    """For rows and columns: their number in the operand, and the coordinate of each of the result."""
    coordinate = _COORDINATES[str(call.attrs.coordinate_transformation_mode)]
    extents = zip(shape(call.args[0])[2:], (int(size) for size in call.args[1].values), strict=True)
    return [(n, [coordinate(i, n, m) for i in range(m)]) for n, m in extents]
