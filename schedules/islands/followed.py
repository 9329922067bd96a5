"""A kernel whose results go through a function of single elements as they are stored, and never through memory."""

from collections.abc import Callable, Sequence

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr
from tvm.ir.expr import TensorLoad

from ..common.lowered import lowered
from ..common.transcendental import without_libm


def followed(
    func: tirx.PrimFunc, function: Callable[[Expr, Sequence[Expr]], Expr], operands: int
) -> tirx.PrimFunc | None:
    """A `func` that stores a function of what it would store.

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
    if not _is_lowered(func):
        func = lowered(func, aligned=False)
    others = [tirx.decl_buffer(out.shape, "float32", f"operand{i}") for i in range(operands)]
    stores, reads, wide = 0, 0, 0

    def store(stmt: tirx.BufferStore) -> tirx.Stmt:
        nonlocal stores, wide
        if not stmt.buffer.same_as(out):
            return stmt
        stores += 1
        if stmt.value.ty.dtype != "float32":
            wide += 1
            return stmt
        value = tirx.Var("value", "float32")
        result = function(value, [tirx.BufferLoad(other, stmt.indices) for other in others])
        return tirx.BufferStore(out, tirx.Let(value, stmt.value, result), stmt.indices)

    def load(expr: TensorLoad) -> Expr:
        nonlocal reads
        reads += bool(expr.source.same_as(out))
        return expr

    body = tvm_ffi.structural_map(func.body, [(tirx.BufferStore, store), (TensorLoad, load)], order="post")
    if reads or wide or not stores:
        return None
    return without_libm(tirx.PrimFunc([*func.params[:-1], *others, out], body, func.ret_type, attrs=func.attrs))


def _is_lowered(func: tirx.PrimFunc) -> bool:
    """Whether its body is plain loops within a block that holds all."""
    found = 0

    def count(block: s_tir.SBlock) -> s_tir.SBlock:
        nonlocal found
        found += 1
        return block

    tvm_ffi.structural_map(func.body, [(s_tir.SBlock, count)], order="post")
    return found == 1
