"""Results of AVX2's kernels packed to bytes four vectors at a time, whichever pixels they are of.

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

_LANES = 8  # of int32 in a vector
_FOUR = 4  # vectors of int32 that one of bytes holds
_TO_BYTES = {"uint8": "llvm.x86.avx2.packuswb", "int8": "llvm.x86.avx2.packsswb"}


def packed_stores(func: tirx.PrimFunc, instruction: Instruction) -> tirx.PrimFunc:
    """A lowered kernel that packs results of several pixels together before it stores them.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Where an unrolled loop over pixels, or over vectors of channels, stores vectors of saturated and clipped bytes,
        it is changed; where it stores under a condition, it is not.
    instruction : Instruction
        The kernel's: only those of AVX2 have a use for it.
    """
    if instruction.isa != "x86" or instruction.lanes != _LANES:
        return func
    return func.with_body(rebuilt(func.body, lambda stmt: _packed(stmt) or stmt))


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
    """

    loops: list[tirx.For]
    store: tirx.BufferStore
    wide: Expr
    low: Expr
    high: Expr

    @property
    def extents(self) -> list[int]:
        return [int(loop.extent) for loop in self.loops]

    def places(self) -> Iterator[Place]:
        """Of each vector."""
        *outer, lanes = self.extents
        return itertools.product(*map(range, outer), range(0, lanes, _LANES))

    def indices(self, place: Place) -> list[Expr]:
        """Where the first element of a vector is stored."""
        values = dict(zip((loop.loop_var for loop in self.loops), place, strict=True))

        def value(var: Var) -> Expr:
            return next((T.int32(at) for loop_var, at in values.items() if var.same_as(loop_var)), var)

        return [tvm_ffi.structural_map(index, [(Var, value)], order="pre") for index in self.store.indices]


def _packed(stmt: tirx.Stmt) -> tirx.Stmt | None:
    found = _stores(stmt)
    if found is None:
        return None
    places = list(found.places())
    wide = tirx.decl_buffer((len(places) * _LANES,), "int32", "wide", scope="local")
    flat: Expr = tirx.const(0, "int32")
    for loop in found.loops:
        flat = flat * loop.extent + loop.loop_var
    body: tirx.Stmt = tirx.BufferStore(wide, found.wide, [flat])
    for loop in reversed(found.loops):
        body = tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body)
    stores = [
        store
        for first in range(0, len(places), _FOUR)
        for store in _of_four(found, wide, places[first : first + _FOUR], first)
    ]
    return tirx.SeqStmt([on_stack(wide), body, *stores])


def _stores(stmt: tirx.Stmt) -> _Stores | None:
    """What a nest of loops stores, if it is such a nest, of more than one vector."""
    loops = []
    while isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.UNROLLED:
        loops.append(stmt)
        stmt = stmt.body
    if not loops or not isinstance(stmt, tirx.For) or stmt.kind != tirx.ForKind.VECTORIZED:
        return None
    loops.append(stmt)
    store = stmt.body
    if not isinstance(store, tirx.BufferStore) or str(store.buffer.dtype) not in _TO_BYTES or int(stmt.extent) % _LANES:
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
    return _Stores(loops, store, saturated.a.a, clipped.a.b, clipped.b)


def _of_four(found: _Stores, wide: tirx.Buffer, places: Sequence[Place], first: int) -> Iterator[tirx.Stmt]:
    """Up to four vectors, packed and stored: those that lie side by side together."""
    dtype, lanes = str(found.store.buffer.dtype), _FOUR * _LANES
    vectors = [_vector(wide, first + min(j, len(places) - 1)) for j in range(_FOUR)]
    halves = [llvm("llvm.x86.avx2.packssdw", "int16x16", *vectors[j : j + 2]) for j in (0, 2)]
    packed = T.reinterpret(llvm(_TO_BYTES[dtype], f"int8x{lanes}", *halves), dtype=f"{dtype}x{lanes}")
    for end, limit in ((tirx.max, found.low), (tirx.min, found.high)):
        packed = end(packed, tirx.Broadcast(limit, lanes))
    result = tirx.decl_buffer((lanes,), dtype, "packed", scope="local")
    yield on_stack(result)
    yield tirx.BufferStore(result, packed, [tirx.Ramp(0, 1, lanes)])
    indices = [found.indices(place) for place in places]
    for run in _runs(indices):
        # Packing works within halves: vector j is in bytes 4 j to 4 j + 3 of the first and of the second one.
        order = [T.int32(16 * half + 4 * j + i) for j in run for half in (0, 1) for i in range(4)]
        *outer, start = indices[run[0]]
        taken = tirx.Shuffle([tirx.BufferLoad(result, [tirx.Ramp(0, 1, lanes)])], order)
        yield tirx.BufferStore(found.store.buffer, taken, [*outer, tirx.Ramp(start, 1, len(order))])


def _vector(wide: tirx.Buffer, number: int) -> Expr:
    return tirx.BufferLoad(wide, [tirx.Ramp(number * _LANES, 1, _LANES)])


def _runs(indices: Sequence[Sequence[Expr]]) -> Iterator[range]:
    """Vectors that lie side by side, as many as one instruction stores: 1, 2 or 4."""
    start = 0
    while start < len(indices):
        count = next(
            n
            for n in (4, 2, 1)
            if start + n <= len(indices) and all(_follows(*indices[i : i + 2]) for i in range(start, start + n - 1))
        )
        yield range(start, start + count)
        start += count


def _follows(before: Sequence[Expr], after: Sequence[Expr]) -> bool:
    prove = Analyzer().can_prove_equal
    *outer, start = before
    return all(map(prove, outer, after)) and prove(start + _LANES, after[-1])
