"""Innermost loops as vectors, whatever their extent: strips of whole vectors, and narrower ones for the rest."""

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, Var
from tvm.ir.expr import TensorLoad
from tvm.tirx.analysis import undefined_vars

from ..common.lowered import on_stack
from ..common.statements import rebuilt, with_body
from ..common.vectors import local

FROM_VECTORS = 8  # of elements to be added up, from which on there are several vectors of sums
INDEX = "int64"  # as Relax has it
TOGETHER = 8  # elements that are looked up, written out
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
            return _one_by_one(part) if _is_looked_up(store.value, part.loop_var) else _elements(part, lanes)
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
    return _seq(strips)


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
    return _loop("strip", count, lambda strip: _vector(lanes, lambda lane: _at(loop, first + strip * lanes + lane)))


def _is_looked_up(value: Expr, variable: Var) -> bool:
    """Whether what is loaded says where the rest is loaded from."""
    places = [index for load in _loads(value) for index in load.indices]
    return any(variable in undefined_vars(load) for index in places for load in _loads(index))


def _loads(value: Expr) -> list[TensorLoad]:
    found: list[TensorLoad] = []

    def note(load: TensorLoad) -> TensorLoad:
        found.append(load)
        return load

    tvm_ffi.structural_map(value, [(TensorLoad, note)], order="post")
    return found


def _one_by_one(loop: tirx.For) -> tirx.Stmt:
    """Each element by itself, some written out: in vectors, places would be taken out and what is there put in."""
    extent = int(loop.extent)
    whole = extent // TOGETHER * TOGETHER

    def some(first: Expr, count: int) -> tirx.Stmt:
        return _seq([_at(loop, first + i) for i in range(count)])

    strips = [_loop("strip", whole // TOGETHER, lambda strip: some(strip * TOGETHER, TOGETHER))] if whole else []
    return _seq([*strips, *([some(tirx.const(whole, INDEX), extent - whole)] if whole < extent else [])])


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
        return _vector(count, lambda lane: tirx.BufferStore(sums, value(first + lane), [first + lane]))

    def added(strip: Expr) -> Callable[[Expr], Expr]:
        return lambda at: kind(sums[at], _substituted(combined.b, loop.loop_var, strip * width + at))

    def folded(half: int) -> Callable[[Expr], Expr]:
        return lambda at: kind(sums[at], sums[at + half])

    vectors, whole = range(0, width, lanes), extent // width
    halves = [width >> bit for bit in range(1, width.bit_length())]
    steps = [
        on_stack(sums),
        *(put(first, lanes, lambda _: tirx.const(_IDENTITIES[kind], "float32")) for first in vectors),
        _loop("strip", whole, lambda strip: _seq([put(first, lanes, added(strip)) for first in vectors])),
        *(put(0, half, folded(half)) for half in halves),
        tirx.BufferStore(store.buffer, kind(combined.a, sums[0]), store.indices),
    ]
    if whole * width < extent:
        steps.append(_loop("rest", extent - whole * width, lambda i: _at(loop, whole * width + i)))
    return _seq(steps)


def _is_load(expr: Expr, store: tirx.BufferStore) -> bool:
    """Whether an expression is what a statement is about to replace."""
    return (
        isinstance(expr, TensorLoad)
        and bool(expr.source.same_as(store.buffer))
        and tvm_ffi.structural_equal(list(expr.indices), list(store.indices))
    )


def _at(loop: tirx.For, place: Expr) -> tirx.Stmt:
    """The body of a loop, which starts at 0, for one element."""
    return _substituted(loop.body, loop.loop_var, place)


def _substituted(node: Any, variable: tirx.Var, value: Expr) -> Any:
    value = value.astype(str(variable.ty.dtype))
    return tvm_ffi.structural_map(node, [(Var, lambda var: value if var.same_as(variable) else var)], order="pre")


def _loop(
    name: str, extent: int, body: Callable[[Expr], tirx.Stmt], kind: tirx.ForKind = tirx.ForKind.SERIAL
) -> tirx.Stmt:
    if extent == 1:
        return body(tirx.const(0, INDEX))
    var = tirx.Var(name, INDEX)
    return tirx.For(var, tirx.const(0, INDEX), tirx.const(extent, INDEX), kind, body(var))


def _vector(lanes: int, body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
    return _loop("lane", lanes, body, tirx.ForKind.VECTORIZED)


def _seq(stmts: list[tirx.Stmt]) -> tirx.Stmt:
    return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)
