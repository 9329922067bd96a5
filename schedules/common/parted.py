"""Vectors that may reach beyond an extent: stored as a whole where they do not, in parts where they do."""

import tvm_ffi
from tvm import tirx
from tvm.ir import Var

from .statements import rebuilt, uses, with_body, without


def parted(func: tirx.PrimFunc, width: int) -> tirx.PrimFunc:
    """A lowered function whose vector loops have no condition for each element.

    LLVM would store the elements of such a vector one by one, or by a mask.

    Parameters
    ----------
    func : tvm.tirx.PrimFunc
        Its vector loops store if ``start + lane < extent``, and maybe another condition that is one for all lanes.
    width : int
        Elements of a part: a power of two that divides starts and extents.
    """
    return func.with_body(rebuilt(func.body, lambda stmt: _parted(stmt, width)))


def _parted(stmt: tirx.Stmt, width: int) -> tirx.Stmt:
    if not isinstance(stmt, tirx.For) or stmt.kind != tirx.ForKind.VECTORIZED:
        return stmt
    guarded = stmt.body
    if isinstance(guarded, tirx.IfThenElse) and isinstance(guarded.condition, tirx.And):
        first, second = guarded.condition.a, guarded.condition.b
        if uses(first, stmt.loop_var):
            first, second = second, first
        if uses(first, stmt.loop_var) or guarded.else_case is not None:
            return stmt
        inner = with_body(stmt, tirx.IfThenElse(second, guarded.then_case, None))
        return tirx.IfThenElse(first, _parted(inner, width), None)
    if not isinstance(guarded, tirx.IfThenElse) or not isinstance(guarded.condition, tirx.LT):
        return stmt
    place, extent = guarded.condition.a, guarded.condition.b
    if not uses(place, stmt.loop_var):
        return stmt
    start = without(place, stmt.loop_var)
    lanes, store, index = int(stmt.extent), guarded.then_case, str(stmt.loop_var.ty.dtype)
    part, lane = tirx.Var("part", index), tirx.Var("lane", index)
    place_in_vector = part * width + lane if width > 1 else part
    element = tvm_ffi.structural_map(
        store, [(Var, lambda var: place_in_vector if var.same_as(stmt.loop_var) else var)], order="pre"
    )
    vector = tirx.For(lane, 0, width, tirx.ForKind.VECTORIZED, element) if width > 1 else element
    inside = tirx.IfThenElse(start + part * width < extent, vector, None)
    parts = tirx.For(part, 0, lanes // width, tirx.ForKind.SERIAL, inside)
    return tirx.IfThenElse(start + (lanes - 1) < extent, with_body(stmt, store), parts)
