"""The largest or smallest elements along an axis, as ONNX's TopK defines it: in order, the first of equal ones first.

Merge sort of the places, from the bottom up, which is stable. For each length of 1, 2, 4, ... that is less than n, in
turns from one list of places to the other:

    of two neighbouring runs of that length, both in order, take the better one's first place until both are empty
"""

from tvm import s_tir, tirx
from tvm.ir import Expr

from ..common.lowered import on_stack
from ..common.vectors import local, loop, seq


def top_k(outer: int, extent: int, inner: int, k: int, dtype: str, largest: bool) -> tirx.PrimFunc:
    """PrimFunc of a tensor (outer, extent, inner) of any type; its results are k values and, int64, their places."""
    data = tirx.decl_buffer((outer, extent, inner), dtype, "data")
    values = tirx.decl_buffer((outer, k, inner), dtype, "values")
    places = tirx.decl_buffer((outer, k, inner), "int64", "places")
    order = tirx.decl_buffer((2, extent), "int32", "order")
    heads = local((2,), "int32", "heads")  # of the two runs
    passes = (extent - 1).bit_length()

    def each(o: Expr, c: Expr) -> list[tirx.Stmt]:
        def put(rank: Expr) -> list[tirx.Stmt]:
            place = order[passes % 2, rank]
            value = tirx.BufferStore(values, data[o, place, c], [o, rank, c])
            return [value, tirx.BufferStore(places, tirx.Cast("int64", place), [o, rank, c])]

        def merge(p: Expr) -> list[tirx.Stmt]:
            source, target = tirx.bitwise_and(_int(p), 1), 1 - tirx.bitwise_and(_int(p), 1)
            length = tirx.shift_left(_int(1), _int(p))

            def element(at: Expr) -> list[tirx.Stmt]:
                first = tirx.bitwise_and(at, -2 * length)
                middle, end = (tirx.min(first + n * length, extent) for n in (1, 2))
                left, right = (order[source, tirx.min(heads[i], extent - 1)] for i in range(2))
                one, other = data[o, left, c], data[o, right, c]
                better = other > one if largest else other < one
                takes_left = tirx.all(heads[0] < middle, tirx.any(heads[1] >= end, tirx.Not(better)))
                begin = [tirx.BufferStore(heads, head, [i]) for i, head in enumerate((first, middle))]
                return [
                    tirx.IfThenElse(at == first, seq(begin), None),
                    tirx.IfThenElse(
                        takes_left,
                        _take(order, heads, source, target, at, 0),
                        _take(order, heads, source, target, at, 1),
                    ),
                ]

            return [loop("at", extent, element)]

        begin = loop("at", extent, lambda at: [tirx.BufferStore(order, _int(at), [0, at])])
        sort = [loop("p", passes, merge)] if passes else []
        return [begin, *sort, loop("rank", k, put)]

    body = loop("o", outer, lambda o: [loop("c", inner, lambda c: each(o, c))])
    root = s_tir.SBlock([], [], [], "root", seq([tirx.AllocBuffer(order), on_stack(heads), body]))
    return tirx.PrimFunc([data, values, places], s_tir.SBlockRealize([], True, root))


def _take(order: tirx.Buffer, heads: tirx.Buffer, source: Expr, target: Expr, at: Expr, run: int) -> tirx.Stmt:
    moved = tirx.BufferStore(order, order[source, heads[run]], [target, at])
    return seq([moved, tirx.BufferStore(heads, heads[run] + 1, [run])])


def _int(value: Expr | int) -> Expr:
    return tirx.const(value, "int32") if isinstance(value, int) else value
