"""Rules of operators with a shape that numbers of rows are part of, and of those that give one."""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from eq_tvm.importer.protobuf import attributes_of
from eq_tvm.importer.static.counted import Number, Rows
from eq_tvm.importer.static.rows.numbers import combine, number_of, placeholder, set_value, value_of
from eq_tvm.importer.static.rows.rule import across, keep
from eq_tvm.importer.static.specializer import Specializer


def reshape(specializer: Specializer, node: NodeProto) -> None:
    """To a shape that says -1, 0 or the number of rows where rows go on to be, with the same extents before them.

    Extents behind them may become part of them: there are so many times as many rows.
    """
    data, target = node.input
    shape, known = specializer.shape(data), value_of(specializer, target)
    if known is None or data not in specializer.rows:
        raise across(specializer, node)
    rows = specializer.rows[data]
    at, keeps_zero = rows.axis, attributes_of(node).get("allowzero", 0)
    wanted = [shape[i] if n == 0 and not keeps_zero and i != at else int(n) for i, n in enumerate(known)]
    counted = [i for i, n in enumerate(wanted) if n in specializer.counts or (n == 0 and i == at)]
    places = counted or [i for i, n in enumerate(wanted) if n == -1]
    if len(places) != 1:
        raise across(specializer, node)
    (place,) = places
    before, after = (_resolved(part) for part in (wanted[:place], wanted[place + 1 :]))
    ends = math.prod(shape[:at]), math.prod(shape[at + 1 :])
    after = ends[1] if after is None else after
    if before not in (None, ends[0]) or not after or ends[1] % after:
        raise across(specializer, node)
    count = combine(specializer, "Mul", number_of(specializer, rows), ends[1] // after)
    named = specializer.counts.get(wanted[place])
    if not isinstance(count, Number) or (named is not None and named.tensor != count.tensor):
        raise across(specializer, node)
    rows = Rows(place, shape[at] * (ends[1] // after), count.tensor)
    wanted[place] = rows.most
    static = specializer.constant(np.array(wanted, np.int64))
    keep(specializer, helper.make_node("Reshape", [data, static], node.output, name=node.name), rows, place)


def _resolved(extents: list[int]) -> int | None:
    """How many elements; None where -1 leaves that open."""
    return None if -1 in extents else math.prod(extents)


def flatten(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """As the reshape that it is."""
    shape, axis = specializer.shape(node.input[0]), attributes_of(node).get("axis", 1)
    axis += len(shape) if axis < 0 else 0
    parts = shape[:axis], shape[axis:]
    wanted = [-1 if (rows.axis < axis) == (i == 0) else math.prod(part) for i, part in enumerate(parts)]
    target = specializer.constant(np.array(wanted, np.int64))
    reshape(specializer, helper.make_node("Reshape", [node.input[0], target], node.output, name=node.name))


def expand(specializer: Specializer, node: NodeProto) -> None:
    """To a shape that has the rows; where only the data have, to one that leaves them alone."""
    data, target = node.input
    known = value_of(specializer, target)
    if known is None:
        raise across(specializer, node)
    shape, rank = specializer.shape(data), max(len(known), len(specializer.shape(data)))
    wanted = [1] * (rank - len(known)) + [int(n) for n in known]
    numbers = {i: specializer.counts[n] for i, n in enumerate(wanted) if n in specializer.counts}
    rows = specializer.rows.get(data)
    own = -1 if rows is None else rank - len(shape) + rows.axis
    places = numbers.keys() | ({own} if rows else set())
    (place,) = places if len(places) == 1 else (-1,)
    at, number = place - (rank - len(shape)), numbers.get(place)
    if place < 0 or (rows is None and at >= 0 and shape[at] != 1) or (number is None and wanted[place] != 1):
        raise across(specializer, node)
    if rows is not None and number is not None and number.tensor != rows.count:
        raise across(specializer, node)
    if rows is None:
        assert number is not None
        rows = Rows(place, number.most, number.tensor)
    wanted[place] = rows.most
    static = specializer.constant(np.array(wanted, np.int64))
    keep(specializer, helper.make_node("Expand", [data, static], node.output, name=node.name), rows, place)


def constant_of_shape(specializer: Specializer, node: NodeProto) -> None:
    """The same number in all rows."""
    if node.input[0] not in specializer.numbers:
        raise across(specializer, node)
    known = [int(n) for n in specializer.numbers[node.input[0]]]
    numbers = {i: specializer.counts[n] for i, n in enumerate(known) if n in specializer.counts}
    if len(numbers) != 1:
        raise across(specializer, node)
    ((axis, number),) = numbers.items()
    known[axis] = number.most
    value = attributes_of(node).get("value")
    filled = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    specializer.constant(np.full(known, filled[0], filled.dtype), node.output[0])
    specializer.rows[node.output[0]] = Rows(axis, number.most, number.tensor)


def range_(specializer: Specializer, node: NodeProto) -> None:
    """From 0, for each row."""
    start, limit, step = (value_of(specializer, name) for name in node.input)
    number = None if limit is None or limit.size != 1 else specializer.counts.get(int(limit.reshape(())))
    if number is None or start is None or step is None or start.item() != 0 or step.item() != 1:
        raise across(specializer, node)
    assert limit is not None
    specializer.constant(np.arange(number.most, dtype=limit.dtype), node.output[0])
    specializer.rows[node.output[0]] = Rows(0, number.most, number.tensor)
    specializer.places.add(node.output[0])


def slice_(specializer: Specializer, node: NodeProto) -> None:
    """Of other axes; of the rows, the first ones. Of other tensors, as many of the first as there are rows."""
    given, data = attributes_of(node), node.input[0]
    shape, rows = specializer.shape(data), specializer.rows.get(data)
    starts, ends, axes, steps = (
        given.get(name, None if i >= len(node.input) or not node.input[i] else value_of(specializer, node.input[i]))
        for i, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    if starts is None or ends is None or any(int(n) in specializer.counts for n in starts):
        raise across(specializer, node)
    axes = [int(axis) % len(shape) for axis in (range(len(starts)) if axes is None else axes)]
    ends, steps = [int(n) for n in ends], [1] * len(axes) if steps is None else [int(n) for n in steps]
    places = {axis for axis, end in zip(axes, ends, strict=True) if end in specializer.counts}
    places |= {rows.axis} if rows is not None else set()
    if len(places) != 1:
        raise across(specializer, node)
    (at,) = places
    if at in axes:
        i = axes.index(at)
        end = specializer.counts.get(ends[i], ends[i])
        if int(starts[i]) != 0 or steps[i] != 1 or (isinstance(end, int) and end <= 0):
            raise across(specializer, node)
        least = combine(specializer, "Min", shape[at] if rows is None else number_of(specializer, rows), end)
        if not isinstance(least, Number):
            raise across(specializer, node)
        rows = Rows(at, least.most, least.tensor)
        ends[i] = least.most
    assert rows is not None
    operands = [specializer.constant(np.array(each, np.int64)) for each in (starts, ends, axes, steps)]
    if specializer.opset < 10:
        sliced = helper.make_node(
            "Slice", [data], node.output, name=node.name, starts=list(map(int, starts)), ends=ends, axes=axes
        )
    else:
        sliced = helper.make_node("Slice", [data, *operands], node.output, name=node.name)
    keep(specializer, sliced, rows, at)


def shape_of(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """The extents, with a placeholder for the number of rows."""
    shape, given = specializer.shape(node.input[0]), attributes_of(node)
    shape[rows.axis] = placeholder(specializer, number_of(specializer, rows))
    set_value(specializer, node.output[0], np.array(shape[given.get("start", 0) : given.get("end")], np.int64))


def size_of(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """The number of elements."""
    others = math.prod(n for i, n in enumerate(specializer.shape(node.input[0])) if i != rows.axis)
    count = combine(specializer, "Mul", number_of(specializer, rows), others)
    set_value(specializer, node.output[0], np.array(placeholder(specializer, count), np.int64))
