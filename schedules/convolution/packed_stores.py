"""Results of x86's kernels packed to bytes four vectors at a time, whichever pixels they are of.

LLVM packs what is stored together: the vectors of one pixel. Where these are few, it packs half of nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, Var
from tvm.script import tirx as T
from tvm.sym import Analyzer

from ..common.lowered import on_stack
from ..common.statements import rebuilt, uses
from ..processor.instruction import Instruction
from ..processor.intrinsics import llvm

Place = tuple[int, ...]  # the iterations of loops, and the first of a vector's lanes

_FOUR = 4  # vectors of int32 that one of bytes holds
_IN_PARTS = 4  # lanes of int32 in the 128 bits within which registers are packed
_TO_INT16 = {8: "llvm.x86.avx2.packssdw", 16: "llvm.x86.avx512.packssdw.512"}  # by the lanes of a vector
_TO_BYTES = {
    (8, "uint8"): "llvm.x86.avx2.packuswb",
    (8, "int8"): "llvm.x86.avx2.packsswb",
    (16, "uint8"): "llvm.x86.avx512.packuswb.512",
    (16, "int8"): "llvm.x86.avx512.packsswb.512",
}


def packed_stores(func: tirx.PrimFunc, instruction: Instruction) -> tirx.PrimFunc:
    """A lowered kernel that packs results of several pixels together before it stores them.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Where an unrolled loop over pixels, or over vectors of channels, stores vectors of saturated and clipped bytes,
        it is changed; where it stores under a condition, it is not.
    instruction : Instruction
        The kernel's: only those on vectors of integers, of x86, have a use for it.
    """
    if instruction.isa != "x86" or instruction.activation == "float32" or instruction.matrix:
        return func
    lanes = instruction.lanes
    return func.with_body(
        rebuilt(func.body, lambda stmt: _packed(stmt, lanes) or stmt, lambda stmt: _stores(stmt, lanes) is not None)
    )


@dataclass
class _Stores:
    """What unrolled loops store.

    Attributes
    ----------
    loops : list of tvm.tirx.For
        The outermost first; the last one's iterations are the lanes.
    store : tvm.tirx.BufferStore
    wide, low, high : Expr
        The int32 before it is saturated, and the limits of the result.
    lanes : int
        Of a vector of int32.
    """

    loops: list[tirx.For]
    store: tirx.BufferStore
    wide: Expr
    low: Expr
    high: Expr
    lanes: int

    @property
    def extents(self) -> list[int]:
        return [int(loop.extent) for loop in self.loops]

    def places(self) -> Iterator[Place]:
        """Of each vector."""
        *outer, lanes = self.extents
        return itertools.product(*map(range, outer), range(0, lanes, self.lanes))

    def at(self, place: Place, expr: Expr, lane: tirx.Var | None = None) -> Expr:
        """An expression for a vector's first element, or for the one in a lane."""
        values = [T.int32(at) for at in place]
        if lane is not None:
            values[-1] = values[-1] + lane
        loop_vars = [loop.loop_var for loop in self.loops]

        def value(var: Var) -> Expr:
            return next((at for own, at in zip(loop_vars, values, strict=True) if var.same_as(own)), var)

        return tvm_ffi.structural_map(expr, [(Var, value)], order="pre")


def _packed(stmt: tirx.Stmt, lanes: int) -> tirx.Stmt | None:
    found = _stores(stmt, lanes)
    if found is None:
        return None
    places = list(found.places())
    groups = (places[first : first + _FOUR] for first in range(0, len(places), _FOUR))
    return tirx.SeqStmt([part for group in groups for part in _of_four(found, group)])


def _stores(stmt: tirx.Stmt, lanes: int) -> _Stores | None:
    """What a nest of loops stores, if it is such a nest, of more than one vector."""
    loops = []
    while isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.UNROLLED:
        loops.append(stmt)
        stmt = stmt.body
    if not loops or not isinstance(stmt, tirx.For) or stmt.kind != tirx.ForKind.VECTORIZED:
        return None
    loops.append(stmt)
    store = stmt.body
    if not isinstance(store, tirx.BufferStore) or int(stmt.extent) % lanes:
        return None
    if (lanes, str(store.buffer.dtype)) not in _TO_BYTES:
        return None
    clipped = store.value
    if not (isinstance(clipped, tirx.Min) and isinstance(clipped.a, tirx.Max) and isinstance(clipped.a.a, tirx.Cast)):
        return None
    saturated = clipped.a.a.value
    if not (isinstance(saturated, tirx.Min) and isinstance(saturated.a, tirx.Max)):
        return None
    *outer, last = store.indices
    if not uses(last, stmt.loop_var) or any(uses(index, stmt.loop_var) for index in outer):
        return None
    return _Stores(loops, store, saturated.a.a, clipped.a.b, clipped.b, lanes)


def _of_four(found: _Stores, places: Sequence[Place]) -> Iterator[tirx.Stmt]:
    """Up to four vectors, packed and stored: those that lie side by side together."""
    dtype, lanes = str(found.store.buffer.dtype), found.lanes
    wide = tirx.decl_buffer((len(places) * lanes,), "int32", "wide", scope="local")
    yield on_stack(wide)
    for j, place in enumerate(places):
        lane = tirx.Var("lane", "int32")
        element = tirx.BufferStore(wide, found.at(place, found.wide, lane), [lane + j * lanes])
        yield tirx.For(lane, 0, lanes, tirx.ForKind.VECTORIZED, element)
    vectors = [tirx.BufferLoad(wide, [tirx.Ramp(j * lanes, 1, lanes)]) for j in range(len(places))]
    vectors += vectors[-1:] * (_FOUR - len(vectors))
    halves = [llvm(_TO_INT16[lanes], f"int16x{2 * lanes}", *vectors[j : j + 2]) for j in (0, 2)]
    count = _FOUR * lanes
    packed = T.reinterpret(llvm(_TO_BYTES[lanes, dtype], f"int8x{count}", *halves), dtype=f"{dtype}x{count}")
    for end, limit in ((tirx.max, found.low), (tirx.min, found.high)):
        packed = end(packed, tirx.Broadcast(limit, count))
    result = tirx.decl_buffer((count,), dtype, "packed", scope="local")
    yield on_stack(result)
    yield tirx.BufferStore(result, packed, [tirx.Ramp(0, 1, count)])
    indices = [[found.at(place, index) for index in found.store.indices] for place in places]
    for run in _runs(indices, lanes):
        # Vector j is in bytes 4 j to 4 j + 3 of each 128 bits.
        parts = itertools.product(run, range(lanes // _IN_PARTS), range(_IN_PARTS))
        order = [T.int32(_FOUR * _IN_PARTS * part + _IN_PARTS * j + i) for j, part, i in parts]
        *outer, start = indices[run[0]]
        taken = tirx.Shuffle([tirx.BufferLoad(result, [tirx.Ramp(0, 1, count)])], order)
        yield tirx.BufferStore(found.store.buffer, taken, [*outer, tirx.Ramp(start, 1, len(order))])


def _runs(indices: Sequence[Sequence[Expr]], lanes: int) -> Iterator[range]:
    """Vectors that lie side by side, as many as one instruction stores: 1, 2 or 4."""
    follows = [_side_by_side(before, after, lanes) for before, after in itertools.pairwise(indices)]
    start = 0
    while start < len(indices):
        count = next(n for n in (4, 2, 1) if start + n <= len(indices) and all(follows[start : start + n - 1]))
        yield range(start, start + count)
        start += count


def _side_by_side(before: Sequence[Expr], after: Sequence[Expr], lanes: int) -> bool:
    prove = Analyzer().can_prove_equal
    *outer, start = before
    return all(map(prove, outer, after)) and prove(start + lanes, after[-1])
