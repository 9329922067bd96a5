"""Loops that threads share, though to start them takes longer than all that the loop does."""

import math

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Call, Expr
from tvm.ir.expr import TensorLoad

from ..common.statements import parts

SHORT = 8000  # instructions, of vectors: about a microsecond, which threads take to start and to wait for each other
_VECTOR = 32  # bytes
_SIMPLE = "prim.if_then_else", "tirx.prefetch", "tirx.reinterpret", "tirx.address_of"
_OPERANDS = "a", "b", "value", "condition", "true_value", "false_value"


def without_short_loops(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A scheduled function in which one thread runs what would be done before others have started.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        With parallel loops or without.

    Returns
    -------
    tvm.tirx.PrimFunc
        With the same results.
    """

    def change(loop: tirx.For) -> tirx.For:
        if loop.kind != tirx.ForKind.PARALLEL or _instructions(loop) >= SHORT:
            return loop
        kind = tirx.ForKind.SERIAL
        return tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body, loop.thread_binding, loop.annotations)

    return func.with_body(tvm_ffi.structural_map(func.body, [(tirx.For, change)], order="post"))


def _instructions(stmt: tirx.Stmt) -> float:
    """How many a statement takes, roughly; without end where that is not known."""
    if isinstance(stmt, tirx.SeqStmt):
        return sum(map(_instructions, stmt.seq))
    if isinstance(stmt, tirx.For) and isinstance(stmt.extent, tirx.IntImm):
        vectors = stmt.kind == tirx.ForKind.VECTORIZED
        times = -(-int(stmt.extent) * _itemsize(stmt.body) // _VECTOR) if vectors else int(stmt.extent)
        return times * _instructions(stmt.body)
    if isinstance(stmt, tirx.BufferStore):
        return 1 + _operations(stmt.value)
    if isinstance(stmt, tirx.Evaluate):
        return _operations(stmt.value)
    if isinstance(stmt, tirx.IfThenElse):
        return _instructions(stmt.then_case) + (0 if stmt.else_case is None else _instructions(stmt.else_case))
    if isinstance(stmt, s_tir.SBlockRealize):
        start = stmt.block.init
        return _instructions(stmt.block.body) + (0 if start is None else _instructions(start))
    return 0 if isinstance(stmt, tirx.AllocBuffer) else math.inf


def _operations(expr: Expr) -> float:
    """Of one element, but for what finds its place."""
    if isinstance(expr, TensorLoad | tirx.Var | tirx.IntImm | tirx.FloatImm):
        return int(isinstance(expr, TensorLoad))
    if isinstance(expr, Call) and expr.op.name not in _SIMPLE:
        return math.inf
    operands = [*getattr(expr, "args", []), *(getattr(expr, field, None) for field in _OPERANDS)]
    return 1 + sum(_operations(each) for each in operands if isinstance(each, Expr))


def _itemsize(stmt: tirx.Stmt) -> int:
    """Bytes of the largest element that the body of a vectorized loop stores."""
    stores = parts(stmt, tirx.BufferStore)
    return max((int(tvm.DataType(str(store.buffer.dtype)).bits) // 8 for store in stores), default=1)
