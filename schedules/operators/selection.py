"""Non-maximum suppression and the positions of what is not zero, as ONNX defines them: rows that the data choose.

How many rows there are depends on the data. The kernels fill a result that holds as many as there can be, the rest of
it with 0, and count:

    suppression, of each image and class: take the box of the highest score, the first of equal ones; strike out it and
    each box that overlaps it by more than a limit; again, until none is left, or as many are taken as may be

    non-zero: go through the elements in the order of memory; note the indices of each that is not 0
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import s_tir, tirx
from tvm.ir import Expr

from ..common.lowered import on_stack
from ..common.vectors import local, loop, seq


@dataclass(frozen=True)
class Suppression:
    """What an ONNX NonMaxSuppression computes.

    Attributes
    ----------
    batch, classes, boxes : int
    limit : int
        Boxes to take of each class of an image.
    overlap : float
        Intersection over union beyond which a box is struck out.
    threshold : float, optional
        Scores must exceed it.
    from_center : bool
        Boxes are (x, y, width, height) of their center, not (y, x, y, x) of two opposite corners.
    """

    batch: int
    classes: int
    boxes: int
    limit: int
    overlap: float = 0.0
    threshold: float | None = None
    from_center: bool = False

    @property
    def most(self) -> int:
        """Rows that there are at most."""
        return self.batch * self.classes * min(self.limit, self.boxes)


def suppression(plan: Suppression) -> tirx.PrimFunc:
    """PrimFunc of boxes (batch, boxes, 4) and scores (batch, classes, boxes), float32.

    Its results, int64: the image, class and box of each row (most, 3), by image and class, then by falling scores; and
    how many rows there are (1).
    """
    boxes = tirx.decl_buffer((plan.batch, plan.boxes, 4), "float32", "boxes")
    scores = tirx.decl_buffer((plan.batch, plan.classes, plan.boxes), "float32", "scores")
    selected = tirx.decl_buffer((plan.most, 3), "int64", "selected")
    count = tirx.decl_buffer((1,), "int64", "count")
    left = tirx.decl_buffer((plan.boxes,), "int32", "left")  # boxes that are neither taken nor struck out, in order
    many = local((1,), "int32", "many")  # of them
    kept = local((1,), "int32", "kept")  # of those that were looked at
    best = local((2,), "int32", "best")  # the box that is taken, and the one to take next

    def each_class(b: Expr, c: Expr) -> list[tirx.Stmt]:
        def keep(box: Expr) -> list[tirx.Stmt]:
            better = tirx.any(kept[0] == 0, scores[b, c, box] > scores[b, c, best[1]])
            return [_when(better, _set(best, 1, box)), _set(left, kept[0], box), _set(kept, 0, kept[0] + 1)]

        def begin(i: Expr) -> list[tirx.Stmt]:
            low = _LOWEST if plan.threshold is None else tirx.const(plan.threshold, "float32")
            return [_when(scores[b, c, i] > low, *keep(_int(i)))]

        def strike(i: Expr) -> list[tirx.Stmt]:
            stays = tirx.Not(tirx.any(best[0] == left[i], _overlap(plan, boxes, b, best[0], left[i])))
            return [_when(stays, *keep(left[i]))]

        def take(_: Expr) -> list[tirx.Stmt]:
            row = [b, c, best[1]]
            put = [tirx.BufferStore(selected, _long(value), [count[0], k]) for k, value in enumerate(row)]
            at = tirx.Var("i", "int32")
            look = tirx.For(at, _int(0), many[0], tirx.ForKind.SERIAL, seq(strike(at)))
            taken = [*put, _set(count, 0, count[0] + _long(1)), _set(best, 0, best[1]), _set(kept, 0, _int(0)), look]
            return [_when(many[0] > 0, *taken, _set(many, 0, kept[0]))]

        start = [_set(kept, 0, _int(0)), _set(best, 1, _int(0)), loop("i", plan.boxes, begin), _set(many, 0, kept[0])]
        return [*start, loop("n", min(plan.limit, plan.boxes), take)]

    body = [
        *_cleared(selected, count),
        tirx.AllocBuffer(left),
        *map(on_stack, (many, kept, best)),
        loop("b", plan.batch, lambda b: [loop("c", plan.classes, lambda c: each_class(b, c))]),
    ]
    return _function([boxes, scores, selected, count], body)


def nonzero(shape: Sequence[int], dtype: str) -> tirx.PrimFunc:
    """PrimFunc of one tensor with elements of any type.

    Its results, int64: the indices of each element that is not 0, a column for each, (rank, elements); and how many
    columns there are (1).
    """
    elements = math.prod(shape)
    data = tirx.decl_buffer((elements,), dtype, "data")
    found = tirx.decl_buffer((len(shape), elements), "int64", "found")
    count = tirx.decl_buffer((1,), "int64", "count")

    def element(i: Expr) -> list[tirx.Stmt]:
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        indices = [
            _long(tirx.indexmod(tirx.indexdiv(i, _int(stride)), _int(extent)))
            for stride, extent in zip(strides, shape, strict=True)
        ]
        put = [tirx.BufferStore(found, index, [_int(axis), count[0]]) for axis, index in enumerate(indices)]
        some = data[i] if dtype == "bool" else data[i] != tirx.const(0, dtype)
        return [_when(some, *put, _set(count, 0, count[0] + _long(1)))]

    return _function([data, found, count], [*_cleared(found, count), loop("i", elements, element)])


_LOWEST = tirx.const(-math.inf, "float32")


def _overlap(plan: Suppression, boxes: tirx.Buffer, b: Expr, first: Expr, second: Expr) -> Expr:
    """Whether two boxes overlap by more than the limit; boxes without an area overlap nothing."""

    def corners(i: Expr, axis: int) -> tuple[Expr, Expr]:
        if plan.from_center:
            middle, half = boxes[b, i, axis], boxes[b, i, axis + 2] * tirx.const(0.5, "float32")
            return middle - half, middle + half
        ends = boxes[b, i, axis], boxes[b, i, axis + 2]
        return tirx.min(*ends), tirx.max(*ends)

    sides, areas = [], [tirx.const(1, "float32")] * 2
    for axis in range(2):
        (low, high), (other_low, other_high) = corners(first, axis), corners(second, axis)
        sides.append(tirx.min(high, other_high) - tirx.max(low, other_low))
        areas = [areas[0] * (high - low), areas[1] * (other_high - other_low)]
    zero, common = tirx.const(0, "float32"), sides[0] * sides[1]
    share = common / (areas[0] + areas[1] - common)
    return tirx.all(*(extent > zero for extent in (*sides, *areas)), share > tirx.const(plan.overlap, "float32"))


def _cleared(result: tirx.Buffer, count: tirx.Buffer) -> list[tirx.Stmt]:
    rows, columns = map(int, result.shape)

    def clear(i: Expr) -> list[tirx.Stmt]:
        return [loop("k", columns, lambda k: [tirx.BufferStore(result, _long(0), [i, k])])]

    return [loop("i", rows, clear), _set(count, 0, _long(0))]


def _set(buffer: tirx.Buffer, at: Expr | int, value: Expr) -> tirx.Stmt:
    return tirx.BufferStore(buffer, value, [at])


def _when(condition: Expr, *stmts: tirx.Stmt) -> tirx.Stmt:
    return tirx.IfThenElse(condition, seq(stmts), None)


def _int(value: Expr | int) -> Expr:
    return tirx.const(value, "int32") if isinstance(value, int) else value


def _long(value: Expr | int) -> Expr:
    return tirx.const(value, "int64") if isinstance(value, int) else tirx.Cast("int64", value)


def _function(buffers: Sequence[tirx.Buffer], body: Sequence[tirx.Stmt]) -> tirx.PrimFunc:
    root = s_tir.SBlock([], [], [], "root", seq(body))
    return tirx.PrimFunc(list(buffers), s_tir.SBlockRealize([], True, root))
