"""Loops over a matrix product that become a call of its micro-kernel (see `processor.amx`).

The loops themselves are the micro-kernel's plain form: what it is described by, and what any processor can run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import tvm
import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.ir import Expr, Var
from tvm.ir.expr import TensorLoad
from tvm.s_tir.schedule import LoopRV

from ..common.statements import parts, rebuilt
from ..processor.amx import LINE, ROWS, MicroKernel

_AXIS, _PASS = "eq_tvm.matrix_axis", "eq_tvm.matrix_pass"
_AHEAD = 4096  # bytes: what is read while the memory answers
_MOST = 8  # lines that a step fetches: more would hold up its own loads


def mark(sch: s_tir.Schedule, axes: Mapping[str, LoopRV], passes: Sequence[LoopRV]) -> None:
    """Name the loops of a product, which are one in the other, for `called`.

    Parameters
    ----------
    sch : tvm.s_tir.Schedule
    axes : mapping
        "row", "w" (pixels of a tile), "i" (channels), "kh", "tap", "step", "link", "pair"; the outermost first.
    passes : sequence of tvm.s_tir.schedule.LoopRV
        Loops around it whose iterations read the same block of weights, the outermost first. Together they fetch the
        next block: see `common.prefetch`.
    """
    for outer in passes:
        sch.annotate(outer, _PASS, 1)
    for name, loop in axes.items():
        sch.annotate(loop, _AXIS, name)


def called(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A lowered function with calls of micro-kernels for the loops that were marked."""
    return func.with_body(_called(func.body, ()))


def _called(stmt: tirx.Stmt, passes: tuple[tirx.For, ...]) -> tirx.Stmt:
    def change(part: tirx.Stmt) -> tirx.Stmt:
        if _is_product(part):
            return _call(part, passes)
        return _unmarked(part, _called(part.body, (*passes, part))) if _is_pass(part) else part

    return rebuilt(stmt, change, lambda part: _is_product(part) or _is_pass(part))


def plain(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A lowered function with these loops as they stand."""
    return func.with_body(rebuilt(func.body, lambda stmt: _unmarked(stmt, stmt.body) if _is_marked(stmt) else stmt))


def _annotations(stmt: tirx.Stmt) -> Mapping[str, str]:
    return stmt.annotations if isinstance(stmt, tirx.For) else {}


def _is_product(stmt: tirx.Stmt) -> bool:
    return bool(_annotations(stmt).get(_AXIS, "") == "row")


def _is_pass(stmt: tirx.Stmt) -> bool:
    return _PASS in _annotations(stmt)


def _is_marked(stmt: tirx.Stmt) -> bool:
    return _is_pass(stmt) or _AXIS in _annotations(stmt)


def _unmarked(loop: tirx.For, body: tirx.Stmt) -> tirx.For:
    others = {key: value for key, value in loop.annotations.items() if key not in (_AXIS, _PASS)}
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, others)


def _call(product: tirx.For, passes: Sequence[tirx.For]) -> tirx.Stmt:
    """The call for a marked nest of loops, and the function that it calls."""
    loops = {str(loop.annotations[_AXIS]): loop for loop in _nest(product)}
    extent = {name: int(loop.extent) for name, loop in loops.items()}
    *_, store = parts(product, tirx.BufferStore)
    (weights,) = (load for load in _loads(store.value) if load.source.name == "weights")
    sums = tirx.BufferLoad(store.buffer, store.indices)
    activations = next(load for load in _loads(store.value) if not _same(load, (weights, sums)))
    variables = {name: loop.loop_var for name, loop in loops.items()}

    def stride(load: Expr, axis: str) -> tirx.IntImm:
        return tirx.IntImm("int64", _stride(load, variables, axis))

    def distance(load: Expr) -> tirx.IntImm:
        """From one register of pixels to the next."""
        return stride(load, "row") if extent["row"] > 1 else tirx.IntImm("int64", int(stride(load, "w")) * rows)

    pixels = extent["row"] if extent["row"] > 1 else -(-extent["w"] // ROWS)
    rows = extent["w"] if extent["row"] > 1 else extent["w"] // pixels
    depth = 4 * extent.get("link", 1)
    reduction = extent["kh"], extent["tap"], extent["step"]
    place = [_at(index, variables) for index in weights.indices]
    fetched, lines = _fetched(
        weights.source, place, passes, math.prod(reduction), extent["i"] // 16 * extent.get("link", 1)
    )
    kernel = MicroKernel(
        str(activations.source.dtype) == "int8",
        rows,
        pixels,
        extent["i"] // 16,
        depth,
        reduction,
        lines,
    )
    call = tirx.call_extern(
        "void",
        kernel.name,
        _address(activations, variables),
        stride(activations, "w"),
        distance(activations),
        *(stride(activations, axis) for axis in ("kh", "tap", "step")),
        _address(weights, variables),
        tirx.IntImm("int64", math.prod(map(int, weights.source.shape[5:]))),
        fetched,
        _address(sums, variables),
        stride(sums, "w"),
        distance(sums),
        # Not read: or TVM takes what the epilogue leaves out, beyond an edge, for memory that nobody needs.
        tirx.address_of(tirx.BufferLoad(sums.source, [size - 1 for size in sums.source.shape])),
    )
    return tirx.AttrStmt(product.loop_var, "pragma_import_llvm", kernel.text(), tirx.Evaluate(call))


def _nest(stmt: tirx.Stmt) -> Iterable[tirx.For]:
    return (loop for loop in parts(stmt, tirx.For) if _AXIS in _annotations(loop))


def _fetched(
    weights: tirx.Buffer, place: Sequence[Expr], passes: Sequence[tirx.For], steps: int, own: int
) -> tuple[Expr, int]:
    """An address, and how many lines behind it each of a product's `steps` is to fetch, which itself reads `own`.

    Of several passes, each fetches its share of the next block, evenly. A single pass fetches what it reads later.
    """
    groups, blocks, *inner = map(int, weights.shape)
    many, lines = math.prod(int(outer.extent) for outer in passes), math.prod(inner) // LINE
    if many == 1:
        return _behind(weights, place, _AHEAD), own
    if groups * blocks == 1:
        return _behind(weights, place, 0), 0
    share = -(-lines // (many * steps)) if lines <= many * steps * _MOST else _MOST  # of a step
    number: Expr = tirx.const(0, "int32")
    for outer in passes:
        number = number * outer.extent + outer.loop_var
    block = (place[0] * blocks + place[1] + 1) % (groups * blocks)  # the first, too, is often needed next
    first = [block // blocks, block % blocks, *(0 for _ in inner)]
    return _behind(weights, first, number * (share * steps * LINE)), share


def _behind(buffer: tirx.Buffer, place: Sequence[Expr], count: Expr) -> Expr:
    return tirx.address_of(tirx.BufferLoad(buffer, [*place[:-1], place[-1] + count]))


def _loads(expr: Expr) -> list[Expr]:
    found = [expr] if isinstance(expr, TensorLoad) else []
    for part in (getattr(expr, field) for field in ("a", "b", "value") if hasattr(expr, field)):
        found += _loads(part)
    return found


def _same(load: Expr, others: Iterable[Expr]) -> bool:
    return any(load.source.same_as(other.source) for other in others)


def _address(load: Expr, variables: Mapping[str, tirx.Var]) -> Expr:
    """Of the first element that the loops read."""
    return tirx.address_of(tirx.BufferLoad(load.source, [_at(index, variables) for index in load.indices]))


def _stride(load: Expr, variables: Mapping[str, tirx.Var], axis: str) -> int:
    """Bytes between what two iterations of a loop read, one after the other."""
    place: Expr = tirx.const(0, "int32")
    for index, extent in zip(load.indices, load.source.shape, strict=True):
        place = place * extent + index
    difference = sym.Analyzer().simplify(_at(place, variables, axis) - _at(place, variables))
    return int(difference) * tvm.DataType(str(load.source.dtype)).bits // 8


def _at(index: Expr, variables: Mapping[str, tirx.Var], second: str = "") -> Expr:
    """An index in the first iteration of all loops, but in the second of one of them."""

    def value(var: tirx.Var) -> Expr:
        name = next((name for name, variable in variables.items() if var.same_as(variable)), None)
        return var if name is None else tirx.const(int(name == second), str(var.ty.dtype))

    return tvm_ffi.structural_map(index, [(Var, value)], order="pre")
