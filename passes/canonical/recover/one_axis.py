"""Parts of normalizations over one axis."""

from collections.abc import Callable, Sequence

import numpy as np
from tvm import relax

from ...graph.pointwise import number
from ...graph.rewrite import Graph, shape


def over_last_axis(x: relax.Expr, axis: int, normalized: Callable[[relax.Expr], relax.Expr]) -> relax.Expr:
    """What normalizes the last axis, over another one: between transposes."""
    rank = len(shape(x))
    if axis == rank - 1:
        return normalized(x)
    order = [*(each for each in range(rank) if each != axis), axis]
    return relax.op.permute_dims(normalized(relax.op.permute_dims(x, order)), [int(each) for each in np.argsort(order)])


def over_one_axis(graph: Graph, expr: relax.Expr, operator: str) -> tuple[relax.Var, int] | None:
    """What a reduction along one axis, which stays, reads, and the axis."""
    call = graph.call(expr, operator)
    axes = [] if call is None else [int(axis) % len(shape(call.args[0])) for axis in call.attrs.axis or ()]
    if call is None or len(axes) != 1 or not call.attrs.keepdims or not isinstance(call.args[0], relax.Var):
        return None
    return call.args[0], axes[0]


def squared(graph: Graph, expr: relax.Expr) -> relax.Expr | None:
    """``x`` of ``x * x`` or ``x ^ 2``."""
    call = graph.call(expr, "relax.multiply", "relax.power", "relax.square")
    if call is None or call.op.name == "relax.square":
        return None if call is None else call.args[0]
    base, other = call.args
    return base if (number(other) == 2 if call.op.name == "relax.power" else other == base) else None


def along_axis(constant: np.ndarray, extents: Sequence[int], axis: int) -> np.ndarray | None:
    """(C,) of a constant that is broadcast to a tensor, and differs along the axis alone; else None."""
    rank = len(extents)
    if constant.dtype != np.float32 or constant.ndim > rank:
        return None
    whole = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    only = [extent if each == axis else 1 for each, extent in enumerate(whole.shape)]
    if whole.size != max(only):
        return None
    return np.broadcast_to(whole, only).ravel() * np.ones(extents[axis], "float32")
