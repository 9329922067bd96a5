"""Loops over a matrix product that become a call of its micro-kernel (see `processor.amx`).

The loops themselves are the micro-kernel's plain form: what it is described by, and what any processor can run.
"""

from collections.abc import Iterable, Mapping

import tvm
import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.ir import Expr, Var
from tvm.ir.expr import TensorLoad
from tvm.s_tir.schedule import LoopRV

from ..common.statements import load_of, parts, rebuilt
from ..processor.amx import ROWS, MicroKernel

_AXIS = "eq_tvm.matrix_axis"


def mark(sch: s_tir.Schedule, axes: Mapping[str, LoopRV]) -> None:
    """Name the loops of a product, which are one in the other, for `called`.

    Parameters
    ----------
    sch : tvm.s_tir.Schedule
    axes : mapping
        "row", "w" (pixels of a tile), "i" (channels), "kh", "tap", "step", "link", "pair"; the outermost first.
    """
    for name, loop in axes.items():
        sch.annotate(loop, _AXIS, name)


def called(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A lowered function with calls of micro-kernels for the loops that were marked."""
    return func.with_body(rebuilt(func.body, lambda stmt: _call(stmt) if _is_product(stmt) else stmt, _is_product))


def plain(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A lowered function with these loops as they stand."""
    return func.with_body(rebuilt(func.body, lambda stmt: _unmarked(stmt) if _AXIS in _annotations(stmt) else stmt))


def _annotations(stmt: tirx.Stmt) -> Mapping[str, str]:
    return stmt.annotations if isinstance(stmt, tirx.For) else {}


def _is_product(stmt: tirx.Stmt) -> bool:
    return bool(_annotations(stmt).get(_AXIS, "") == "row")


def _unmarked(loop: tirx.For) -> tirx.For:
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, loop.body, loop.thread_binding, {})


def _call(product: tirx.For) -> tirx.Stmt:
    """The call for a marked nest of loops, and the function that it calls."""
    loops = {str(loop.annotations[_AXIS]): loop for loop in _nest(product)}
    extent = {name: int(loop.extent) for name, loop in loops.items()}
    *_, store = parts(product, tirx.BufferStore)
    weights = load_of("weights", store.value)
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
    kernel = MicroKernel(
        str(activations.source.dtype) == "int8",
        rows,
        pixels,
        extent["i"] // 16,
        depth,
        (extent["kh"], extent["tap"], extent["step"]),
    )
    call = tirx.call_extern(
        "void",
        kernel.name,
        _address(activations, variables),
        stride(activations, "w"),
        distance(activations),
        *(stride(activations, axis) for axis in ("kh", "tap", "step")),
        _address(weights, variables),
        tirx.IntImm("int64", _step_of(weights)),
        _address(sums, variables),
        stride(sums, "w"),
        distance(sums),
        # Not read: or TVM takes what the epilogue leaves out, beyond an edge, for memory that nobody needs.
        tirx.address_of(tirx.BufferLoad(sums.source, [size - 1 for size in sums.source.shape])),
    )
    return tirx.AttrStmt(product.loop_var, "pragma_import_llvm", kernel.text(), tirx.Evaluate(call))


def _nest(stmt: tirx.Stmt) -> Iterable[tirx.For]:
    return (loop for loop in parts(stmt, tirx.For) if _AXIS in _annotations(loop))


def _step_of(weights: Expr) -> int:
    """Bytes of a step, which come one after the other: (group, block, kh, tap, step, vector, ...)."""
    size = 1
    for extent in list(weights.source.shape)[5:]:
        size *= int(extent)
    return size


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
