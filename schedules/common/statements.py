"""Walking over TIR statements and expressions, and making changed ones: TVM has its functors in C++ only."""

from tvm import s_tir, tirx
from tvm.ir.expr import TensorLoad


def rebuilt(stmt, change, whole=lambda stmt: False):
    """A statement with `change` applied to all that it consists of, innermost first; `whole` ones are not entered."""
    if whole(stmt):
        return change(stmt)
    if isinstance(stmt, tirx.SeqStmt):
        stmt = tirx.SeqStmt([rebuilt(part, change, whole) for part in stmt.seq])
    elif isinstance(stmt, tirx.For):
        stmt = tirx.For(
            stmt.loop_var,
            stmt.min,
            stmt.extent,
            stmt.kind,
            rebuilt(stmt.body, change, whole),
            stmt.thread_binding,
            stmt.annotations,
        )
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


def parts(stmt, kind):
    """All statements of a type within a statement, in order."""
    if isinstance(stmt, kind):
        yield stmt
    for part in stmt.seq if isinstance(stmt, tirx.SeqStmt) else [stmt.body] if hasattr(stmt, "body") else []:
        yield from parts(part, kind)


def load_of(name, expr):
    """The first element of the buffer called `name` that an expression reads."""
    if isinstance(expr, TensorLoad):
        return expr if expr.source.name == name else None
    operands = (getattr(expr, field) for field in ("a", "b", "value") if hasattr(expr, field))
    parts = [*getattr(expr, "args", []), *operands]
    return next((found for part in parts if (found := load_of(name, part)) is not None), None)


def uses(expr, variable):
    operands = [getattr(expr, field) for field in ("a", "b") if hasattr(expr, field)]
    return expr.same_as(variable) or any(uses(operand, variable) for operand in operands)


def without(index, variable):
    """A sum with `variable`, which is one of its terms, left out."""
    if variable is None:
        return index
    if index.same_as(variable):
        return tirx.const(0, "int32")
    if isinstance(index, tirx.Add):
        return without(index.a, variable) + without(index.b, variable)
    return index
