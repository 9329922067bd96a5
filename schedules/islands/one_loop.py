"""Parts of a loop over elements, as statements."""

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, Var

INDEX = "int64"  # as Relax has it


def one(loop: tirx.For, place: Expr) -> tirx.Stmt:
    """The body of a loop, which starts at 0, for one element."""
    return substituted(loop.body, loop.loop_var, place)


def substituted(node: Any, variable: tirx.Var, value: Expr) -> Any:
    """An expression or statement with a value in place of a variable."""
    value = value.astype(str(variable.ty.dtype))
    return tvm_ffi.structural_map(node, [(Var, lambda var: value if var.same_as(variable) else var)], order="pre")


def loop_over(
    name: str, extent: int, body: Callable[[Expr], tirx.Stmt], kind: tirx.ForKind = tirx.ForKind.SERIAL
) -> tirx.Stmt:
    """A loop around what `body` makes for its variable; nothing around a single round."""
    if extent == 1:
        return body(tirx.const(0, INDEX))
    var = tirx.Var(name, INDEX)
    return tirx.For(var, tirx.const(0, INDEX), tirx.const(extent, INDEX), kind, body(var))


def vector(lanes: int, body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
    """What `body` makes for each lane of a vector."""
    return loop_over("lane", lanes, body, tirx.ForKind.VECTORIZED)
