"""Innermost loops as vectors, whatever their extent: strips of whole vectors, and narrower ones for the rest."""

from collections.abc import Callable

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr
from tvm.ir.expr import TensorLoad
from tvm.tirx.analysis import undefined_vars

from ..common.lowered import on_stack
from ..common.statements import rebuilt, with_body
from ..common.vectors import local, seq
from .looked_up import looked_up
from .one_loop import loop_over, one, substituted, vector

FROM_VECTORS = 8  # of elements to be added up, from which on there are several vectors of sums
SUMS = 4  # vectors: one alone would wait for itself

_IDENTITIES: dict[type, float] = {tirx.Add: 0.0, tirx.Max: float("-inf"), tirx.Min: float("inf"), tirx.Mul: 1.0}


def in_vectors(stmt: tirx.Stmt, lanes: int) -> tirx.Stmt:
    """A statement whose innermost serial loops go by vectors.

    A loop that adds up (or multiplies, or finds an extreme) keeps a sum for each lane, and adds these at the end: the
    order of summation changes.

    Parameters
    ----------
    stmt : tvm.tirx.Stmt
        Plain loops.
    lanes : int
        Elements of a vector.
    """

    def change(part: tirx.Stmt) -> tirx.Stmt:
        if not isinstance(part, tirx.For) or part.kind != tirx.ForKind.SERIAL or int(part.extent) < lanes:
            return part
        store = part.body
        if not isinstance(store, tirx.BufferStore):
            return part
        if any(part.loop_var in undefined_vars(index) for index in store.indices):
            return looked_up(part, lanes) or _elements(part, lanes)
        return _reduction(part, store, lanes)

    return rebuilt(stmt, change)


def _elements(loop: tirx.For, lanes: int, first: int = 0) -> tirx.Stmt:
    """Each element by itself, from the first one on: what is left over goes by narrower and narrower vectors."""
    loop, extent, strips = _with_reciprocals(loop), int(loop.extent), []
    while first < extent:
        count = (extent - first) // lanes
        if count:
            strips.append(_strip(loop, first, count, lanes))
        first, lanes = first + count * lanes, lanes // 2
    return seq(strips)


def _with_reciprocals(loop: tirx.For) -> tirx.For:
    """Multiply by the reciprocal of what all elements are divided by, as softmax by its sum: LLVM takes it once."""

    def change(division: tirx.Div) -> Expr:
        divisor = division.b
        varies = isinstance(divisor, tirx.FloatImm) or loop.loop_var in undefined_vars(divisor)
        if varies or str(division.ty.dtype) != "float32":
            return division
        return division.a * (tirx.const(1, "float32") / divisor)

    return with_body(loop, tvm_ffi.structural_map(loop.body, [(tirx.Div, change)], order="post"))


def _strip(loop: tirx.For, first: int, count: int, lanes: int) -> tirx.Stmt:
    return loop_over("strip", count, lambda strip: vector(lanes, lambda lane: one(loop, first + strip * lanes + lane)))


def _reduction(loop: tirx.For, store: tirx.BufferStore, lanes: int) -> tirx.Stmt:
    """All elements to one."""
    combined, extent = store.value, int(loop.extent)
    kind = type(combined)
    if kind not in _IDENTITIES or str(store.buffer.dtype) != "float32" or not _is_load(combined.a, store):
        return loop
    many = SUMS if extent >= FROM_VECTORS * lanes else 1
    width = many * lanes
    sums = local((width,), "float32", "sums")

    def put(first: int, count: int, value: Callable[[Expr], Expr]) -> tirx.Stmt:
        return vector(count, lambda lane: tirx.BufferStore(sums, value(first + lane), [first + lane]))

    def added(strip: Expr) -> Callable[[Expr], Expr]:
        return lambda at: kind(sums[at], substituted(combined.b, loop.loop_var, strip * width + at))

    def folded(half: int) -> Callable[[Expr], Expr]:
        return lambda at: kind(sums[at], sums[at + half])

    vectors, whole = range(0, width, lanes), extent // width
    halves = [width >> bit for bit in range(1, width.bit_length())]
    steps = [
        on_stack(sums),
        *(put(first, lanes, lambda _: tirx.const(_IDENTITIES[kind], "float32")) for first in vectors),
        loop_over("strip", whole, lambda strip: seq([put(first, lanes, added(strip)) for first in vectors])),
        *(put(0, half, folded(half)) for half in halves),
        tirx.BufferStore(store.buffer, kind(combined.a, sums[0]), store.indices),
    ]
    if whole * width < extent:
        steps.append(loop_over("rest", extent - whole * width, lambda i: one(loop, whole * width + i)))
    return seq(steps)


def _is_load(expr: Expr, store: tirx.BufferStore) -> bool:
    """Whether an expression is what a statement is about to replace."""
    return (
        isinstance(expr, TensorLoad)
        and bool(expr.source.same_as(store.buffer))
        and tvm_ffi.structural_equal(list(expr.indices), list(store.indices))
    )
