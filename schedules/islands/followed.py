"""A kernel whose results go through a function of single elements as they are stored, and never through memory."""

from collections.abc import Callable, Sequence

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr, Var
from tvm.ir.expr import TensorLoad

from ..common.lowered import lowered
from ..common.statements import rebuilt
from ..common.transcendental import without_libm

Function = Callable[[Expr, Sequence[Expr]], Expr]


def followed(func: tirx.PrimFunc, function: Function, operands: int) -> tirx.PrimFunc | None:
    """A `func` that stores a function of what it would store.

    Where a kernel's code is written out for each element of a tile, the function is applied to the tile when that is
    stored, in a loop: written out as well, it would take LLVM several times as long.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Scheduled; its last argument is the result, of float32.
    function : callable (value, operands) -> Expr
        Of an element of the result, and the elements at its place of further tensors.
    operands : int
        How many of those there are.

    Returns
    -------
    tvm.tirx.PrimFunc or None
        With the further tensors, of the result's shape, as arguments before the result. None where the kernel reads
        its own results, or stores them in another way than one by one.
    """
    out = func.params[-1]
    if _count(func.body, s_tir.SBlock, lambda _: True) > 1:
        func = lowered(func, aligned=False)
    if _count(func.body, TensorLoad, lambda load: load.source.same_as(out)):
        return None
    others = [tirx.decl_buffer(out.shape, "float32", f"operand{i}") for i in range(operands)]
    applied = _Applied(out, others, function)
    body = rebuilt(func.body, applied.to, applied.is_written_out)
    if applied.stores == 0 or applied.stores != _stores(func.body, out):
        return None
    return without_libm(tirx.PrimFunc([*func.params[:-1], *others, out], body, func.ret_type, attrs=func.attrs))


class _Applied:
    """The function, applied to statements that store into `out`; counts the stores."""

    def __init__(self, out: tirx.Buffer, others: Sequence[tirx.Buffer], function: Function) -> None:
        self.out, self.others, self.function = out, others, function
        self.stores = 0

    def is_written_out(self, stmt: tirx.Stmt) -> bool:
        unrolled = isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.UNROLLED
        return unrolled and _stores(stmt, self.out) > 0

    def to(self, stmt: tirx.Stmt) -> tirx.Stmt:
        if self.is_written_out(stmt):
            again = self.again(stmt)
            return stmt if again is None else tirx.SeqStmt([stmt, again])
        return self.store(stmt, stmt.value) if self.is_store(stmt) else stmt

    def is_store(self, stmt: tirx.Stmt) -> bool:
        return isinstance(stmt, tirx.BufferStore) and bool(stmt.buffer.same_as(self.out)) and _is_single(stmt.value)

    def store(self, stmt: tirx.BufferStore, value: Expr) -> tirx.Stmt:
        self.stores += 1
        var = tirx.Var("value", "float32")
        result = self.function(var, [tirx.BufferLoad(other, stmt.indices) for other in self.others])
        return tirx.BufferStore(self.out, tirx.Let(var, value, result), stmt.indices)

    def again(self, stmt: tirx.Stmt) -> tirx.Stmt | None:
        """A loop over what a statement stored, that stores the function of it; None if there is nothing."""
        if isinstance(stmt, tirx.For):
            body = self.again(stmt.body)
            if body is None:
                return None
            kind = tirx.ForKind.SERIAL if stmt.kind == tirx.ForKind.UNROLLED else stmt.kind
            var = tirx.Var(stmt.loop_var.name, stmt.loop_var.ty)
            return tirx.For(var, stmt.min, stmt.extent, kind, _with_variable(body, stmt.loop_var, var))
        if isinstance(stmt, tirx.IfThenElse):
            then, otherwise = (part and self.again(part) for part in (stmt.then_case, stmt.else_case))
            return None if then is None else tirx.IfThenElse(stmt.condition, then, otherwise)
        if isinstance(stmt, tirx.SeqStmt):
            parts = [part for part in map(self.again, stmt.seq) if part is not None]
            return tirx.SeqStmt(parts) if parts else None
        return self.store(stmt, tirx.BufferLoad(self.out, stmt.indices)) if self.is_store(stmt) else None


def _with_variable(stmt: tirx.Stmt, old: tirx.Var, new: tirx.Var) -> tirx.Stmt:
    return tvm_ffi.structural_map(stmt, [(Var, lambda var: new if var.same_as(old) else var)], order="pre")


def _is_single(value: Expr) -> bool:
    return str(value.ty.dtype) == "float32"


def _stores(stmt: tirx.Stmt, out: tirx.Buffer) -> int:
    return _count(stmt, tirx.BufferStore, lambda store: store.buffer.same_as(out))


def _count(stmt: tirx.Stmt, kind: type, wanted: Callable[[tirx.Stmt], bool]) -> int:
    """How many nodes of a type there are within a statement."""
    found = 0

    def note(node: tirx.Stmt) -> tirx.Stmt:
        nonlocal found
        found += bool(wanted(node))
        return node

    tvm_ffi.structural_map(stmt, [(kind, note)], order="post")
    return found
