"""Walking over TIR statements and expressions, and making changed ones: TVM has its functors in C++ only."""

from collections.abc import Callable, Iterator

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr
from tvm.ir.expr import TensorLoad


def rebuilt(
    stmt: tirx.Stmt,
    change: Callable[[tirx.Stmt], tirx.Stmt],
    whole: Callable[[tirx.Stmt], bool] = lambda stmt: False,
) -> tirx.Stmt:
    """A statement with `change` applied to all that it consists of, innermost first; `whole` ones are not entered."""
    if whole(stmt):
        return change(stmt)
    if isinstance(stmt, tirx.SeqStmt):
        stmt = tirx.SeqStmt([rebuilt(part, change, whole) for part in stmt.seq])
    elif isinstance(stmt, tirx.For):
        stmt = with_body(stmt, rebuilt(stmt.body, change, whole))
    elif isinstance(stmt, s_tir.SBlockRealize):
        block = stmt.block
        body = rebuilt(block.body, change, whole)
        stmt = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], block.name_hint, body))
    elif isinstance(stmt, tirx.AttrStmt):
        stmt = tirx.AttrStmt(stmt.node, stmt.attr_key, stmt.value, rebuilt(stmt.body, change, whole))
    elif isinstance(stmt, tirx.IfThenElse):
        otherwise = None if stmt.else_case is None else rebuilt(stmt.else_case, change, whole)
        stmt = tirx.IfThenElse(stmt.condition, rebuilt(stmt.then_case, change, whole), otherwise)
    return change(stmt)


def with_body(loop: tirx.For, body: tirx.Stmt) -> tirx.For:
    """The same loop around other statements."""
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)


def parts(stmt: tirx.Stmt, kind: type[tirx.Stmt]) -> Iterator[tirx.Stmt]:
    """All statements of a type within a statement, in order."""
    if isinstance(stmt, kind):
        yield stmt
    if isinstance(stmt, s_tir.SBlockRealize):
        stmt = stmt.block
    for part in stmt.seq if isinstance(stmt, tirx.SeqStmt) else [stmt.body] if hasattr(stmt, "body") else []:
        yield from parts(part, kind)


def loads(part: tirx.Stmt | Expr) -> list[TensorLoad]:
    """All elements of buffers that a statement or an expression reads, what is read to find others before these."""
    found: list[TensorLoad] = []

    def note(load: TensorLoad) -> TensorLoad:
        found.append(load)
        return load

    tvm_ffi.structural_map(part, [(TensorLoad, note)], order="post")
    return found


def load_of(name: str, expr: Expr) -> TensorLoad | None:
    """The first element of the buffer called `name` that an expression reads."""
    if isinstance(expr, TensorLoad):
        return expr if expr.source.name == name else None
    operands = (getattr(expr, field) for field in ("a", "b", "value") if hasattr(expr, field))
    parts = [*getattr(expr, "args", []), *operands]
    return next((found for part in parts if (found := load_of(name, part)) is not None), None)


def uses(expr: Expr, variable: tirx.Var) -> bool:
    """Whether an index, made of binary operations, depends on a variable."""
    operands = [getattr(expr, field) for field in ("a", "b") if hasattr(expr, field)]
    return bool(expr.same_as(variable)) or any(uses(operand, variable) for operand in operands)


def without(index: Expr, variable: tirx.Var | None) -> Expr:
    """A sum with `variable`, which is one of its terms, left out."""
    if variable is None:
        return index
    if index.same_as(variable):
        return tirx.const(0, "int32")
    if isinstance(index, tirx.Add):
        return without(index.a, variable) + without(index.b, variable)
    return index
