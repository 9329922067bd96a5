"""Transposition of any axes, of elements of any type."""

import math
from collections.abc import Sequence

import numpy as np
from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from ..common.sizes import PARALLEL_FROM, innermost_width
from . import square

BYTES = 64  # of a vector at most, and of a cache's line
FEW = 4  # extents that are written out: elements to be interleaved, which LLVM does with shuffles
STREAMS = 8  # rows written at a time: their lines may all belong to one set of the first cache


def transpose(
    shape: Sequence[int], axes: Sequence[int], result: Sequence[int], dtype: str, lanes: int
) -> tirx.PrimFunc:
    """Scheduled PrimFunc of a transposition.

    Parameters
    ----------
    shape : sequence of int
        Of the operand. No two axes stay side by side, and none is 1: else they would better be one, or left out.
    axes : sequence of int
        The operand's axes in the order that they have in the result.
    result : sequence of int
        Shape of the result: of these axes, or any that has as many elements.
    dtype : str
    lanes : int
        Of a vector of float32.

    Returns
    -------
    tvm.tirx.PrimFunc
        Arguments: the operand and the result.
    """
    if dtype == "float32" and (size := square.side(shape, axes, lanes)):
        sch = square.in_squares(shape, axes, result, size)
        shared = sch.get_loops(sch.get_sblock("square"))[:-1]
    else:
        sch, shared = _plain(shape, axes, result, dtype)
    if math.prod(shape) >= PARALLEL_FROM:
        sch.parallel(sch.fuse(*shared))
    return sch.mod["main"]


def _plain(
    shape: Sequence[int], axes: Sequence[int], result: Sequence[int], dtype: str
) -> tuple[s_tir.Schedule, list[LoopRV]]:
    """Element by element, or by runs of them; and the loops for threads."""
    extents = [shape[axis] for axis in axes]
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("main")
        T.func_attr({"tirx.noalias": True})
        x, out = T.arg("x", T.buffer(shape, dtype)), T.arg("out", T.buffer(result, dtype))
        with T.sblock("root"), T.grid(*extents) as nest, T.sblock("out"):
            at = T.axis.remap("S" * len(axes), list(nest))
            source = [at[list(axes).index(axis)] for axis in range(len(shape))]
            place = square.flat(at, extents, result)
            T.reads(x[tuple(source)])
            T.writes(out[tuple(slice(0, extent) for extent in result)])
            T.buffer_store(out, x[tuple(source)], place)
    sch = s_tir.Schedule(builder.get())
    loops = dict(zip(axes, sch.get_loops(sch.get_sblock("out")), strict=True))  # by the operand's axes
    *_, before, last = axes  # the innermost ones of the result
    first = len(shape) - 1  # the operand's
    line, few = BYTES // np.dtype(dtype).itemsize, shape[last] <= FEW
    inner = [first, last]
    if last == first:
        order = _copied(sch, loops[last], shape[last], line)
    elif few and before != first:
        inner.append(before)
        rows, row = _split(sch, loops[first], shape[first], min(line, STREAMS))
        order = [rows, loops[before], row, loops[last]]
        sch.unroll(loops[last])
    elif few:
        order = _written_out(sch, loops[first], loops[last])
    elif shape[first] <= FEW:
        order = _written_out(sch, loops[last], loops[first])
    else:
        (rows, row), (columns, column) = (_split(sch, loops[axis], shape[axis], line) for axis in (first, last))
        order = [rows, columns, row, column]  # squares of whole lines of the cache: each is read and written once
    outer = [loops[axis] for axis in axes if axis not in inner]
    sch.reorder(*outer, *order)
    return sch, outer or order[:1]


def _copied(sch: s_tir.Schedule, last: LoopRV, extent: int, lanes: int) -> list[LoopRV]:
    """Runs of elements that stay together."""
    rest, vector = sch.split(last, [None, innermost_width(extent, lanes)])
    sch.vectorize(vector)
    return [rest, vector]


def _written_out(sch: s_tir.Schedule, long: LoopRV, short: LoopRV) -> list[LoopRV]:
    """A few elements that end up side by side, or were so: LLVM makes vectors along the other axis."""
    sch.unroll(short)
    return [long, short]


def _split(sch: s_tir.Schedule, loop: LoopRV, extent: int, lanes: int) -> tuple[LoopRV, LoopRV]:
    """By a power of two: LLVM 22 writes wrong elements where it unrolls loops of 13 for 32-bit ARM."""
    width = math.gcd(extent, lanes)
    outer, inner = sch.split(loop, [None, width if width > 2 else min(lanes, 8)])
    return outer, inner
