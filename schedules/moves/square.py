"""Transposition of float32 by squares, each in vector registers."""

import itertools
import math
from collections.abc import Iterator, Sequence

from tvm import s_tir, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import Expr

LEAST = 4  # rows of a square


def side(shape: Sequence[int], axes: Sequence[int], lanes: int) -> int:
    """Rows of the largest squares that a transposition can be cut into: a power of two, at most `lanes`; 0 without any.

    Parameters
    ----------
    shape, axes
        As for `transpose`.
    lanes : int
        Of a vector of float32.
    """
    *_, before, last = axes
    first = len(shape) - 1
    if last == first:
        return 0
    rows = shape[last]
    if rows < lanes and before != first and rows & (rows - 1) == 0:
        rows = math.gcd(lanes, rows * shape[before])  # rows of both axes: side by side in the result
    size = 1 << min(lanes, shape[first], rows).bit_length() - 1
    return size if size >= LEAST else 0


def in_squares(shape: Sequence[int], axes: Sequence[int], result: Sequence[int], size: int) -> s_tir.Schedule:
    """Schedule of a transposition by squares of `size` rows, `side` of the shape; see `transpose`.

    Where they do not divide an axis, the last ones overlap those before them. The operand's rows go along the result's
    inner axes: all of some rows is moved before the next ones, so that what lies side by side is read in turn.
    """
    *_, before, last = axes
    first = len(shape) - 1
    rows = [1] * len(shape)  # along each of the operand's axes
    rows[first], rows[last] = size, min(size, shape[last])
    if rows[last] < size:
        rows[before] = size // rows[last]
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"tirx.noalias": True})
        x, out = T.arg("x", T.buffer(shape, "float32")), T.arg("out", T.buffer(result, "float32"))
        with T.sblock("root"), T.grid(*(-(-shape[axis] // rows[axis]) for axis in axes)) as loops, T.sblock("square"):
            at = dict(zip(axes, T.axis.remap("S" * len(axes), list(loops)), strict=True))
            begin = [_begin(at[axis], rows[axis], shape[axis]) for axis in range(len(shape))]
            T.reads(x[tuple(slice(b, b + n) for b, n in zip(begin, rows, strict=True))])
            T.writes(out[tuple(slice(0, extent) for extent in result)])
            for place, column in _columns(x, begin, rows, axes):
                *outer, last = flat(place, [shape[axis] for axis in axes], result)
                T.buffer_store(out, column, [*outer, tirx.Ramp(last, 1, size)])
    sch = s_tir.Schedule(builder.get())
    nest = dict(zip(axes, sch.get_loops(sch.get_sblock("square")), strict=True))
    inner = [axis for axis in axes if rows[axis] > 1 and axis != first]
    sch.reorder(*(nest[axis] for axis in axes if axis not in [first, *inner]), nest[first], *(nest[i] for i in inner))
    return sch


def _begin(at: Expr, rows: int, extent: int) -> Expr:
    return at * rows if extent % rows == 0 else tirx.min(at * rows, extent - rows)


def flat(place: Sequence[Expr], extents: Sequence[int], result: Sequence[int]) -> list[Expr]:
    """Where a place along axes of these `extents` is in a buffer of the shape `result`, of as many elements.

    Counted along the last axis alone: both have their elements in the same order, whatever their axes are.
    """
    index: Expr = tirx.const(0, "int32")
    for at, extent in zip(place, extents, strict=True):
        index = index * extent + at
    return [*[tirx.const(0, "int32")] * (len(result) - 1), index]


def _columns(
    x: tirx.Buffer, begin: list[Expr], rows: list[int], axes: Sequence[int]
) -> Iterator[tuple[list[Expr], Expr]]:
    """Each column of a square, and where in the result it begins."""
    size, first = rows[-1], len(begin) - 1
    inner = [axis for axis in axes if rows[axis] > 1 and axis != first]  # one or two, in the result's order
    loaded = []
    for places in itertools.product(*(range(rows[axis]) for axis in inner)):
        place = [begin[axis] + places[inner.index(axis)] if axis in inner else begin[axis] for axis in range(first)]
        loaded.append(x.vload([*place, begin[first]], f"float32x{size}"))
    for i, column in enumerate(_transposed(loaded)):
        yield [begin[axis] + (i if axis == first else 0) for axis in axes], column


def _transposed(rows: list[Expr]) -> list[Expr]:
    """Rows as columns, by interleaving as often as their number can be halved."""
    half = len(rows) // 2
    interleaved = [
        [of * len(rows) + start + i for i in range(half) for of in (0, 1)] for start in (0, half)
    ]  # the first halves of two vectors, and the second ones
    for _ in range(len(rows).bit_length() - 1):
        pairs = zip(rows[:half], rows[half:], strict=True)
        rows = [
            tirx.Shuffle(list(pair), [tirx.const(i, "int32") for i in order]) for pair in pairs for order in interleaved
        ]
    return rows
