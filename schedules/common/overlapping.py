"""Whole vectors over an extent that they do not divide: the last one ends with it, and overlaps the one before.

Elements that two vectors have in common are computed and stored twice, alike. So this is for results that depend on
nothing that the kernel writes.
"""

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr

from .sizes import innermost_width


def covering_width(extent: int, lanes: int) -> int:
    """The width of vectors for `overlapped`: `innermost_width`, or the widest that fits if that one is much narrower.

    Parameters
    ----------
    extent : int
    lanes : int
        Elements of a register.
    """
    divisor, widest = innermost_width(extent, lanes), lanes
    while widest > extent:
        widest //= 2
    return divisor if 2 * divisor >= widest else widest


def overlapped(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A scheduled function without the conditions that splitting a loop by `covering_width` left.

    ``i * width + lane``, if it is below the extent, becomes ``min(i * width, extent - width) + lane``.
    """
    return tvm_ffi.structural_map(func, [(s_tir.SBlockRealize, _moved_back)], order="post")


def _moved_back(realize: s_tir.SBlockRealize) -> s_tir.SBlockRealize:
    bound = realize.predicate
    if not isinstance(bound, tirx.LT):
        return realize
    place = bound.a
    if not isinstance(place, tirx.Add) or not isinstance(place.a, tirx.Mul):
        return realize
    start = tirx.min(place.a, bound.b - place.a.b)
    values: list[Expr] = [
        start + place.b if tvm_ffi.structural_equal(value, place) else value for value in realize.iter_values
    ]
    return s_tir.SBlockRealize(values, True, realize.block)
