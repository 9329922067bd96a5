"""Rules of operators that put rows of several tensors into one."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of, copy_of
from eq_tvm.importer.static.counted import Number, Rows
from eq_tvm.importer.static.rows.data import from_the_first
from eq_tvm.importer.static.rows.masking import computed, dtype_of, masked, settle
from eq_tvm.importer.static.rows.numbers import combine, number_of
from eq_tvm.importer.static.rows.rule import across, keep
from eq_tvm.importer.static.specializer import Specializer


def concat(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
    """Along another axis; along that of the rows, those that there are of each operand, one after the other."""
    joined = attributes_of(node).get("axis", 1) % len(specializer.shape(node.input[0]))
    given = [specializer.rows.get(name) for name in node.input]
    if any(each is not None and each.axis != joined for each in given):
        kinds = {None if each is None else (each.axis, each.count) for each in given}
        return keep(specializer, node, rows, rows.axis if len(kinds) == 1 else None)
    extents = [specializer.shape(name)[joined] for name in node.input]
    if all(each is None for each in given[:-1]):  # what there is not comes last as it is
        total = combine(specializer, "Add", number_of(specializer, rows), sum(extents[:-1]))
        assert isinstance(total, Number)
        return keep(specializer, node, Rows(joined, sum(extents), total.tensor), joined)
    parts = [_there(specializer, each, extent) for each, extent in zip(given, extents, strict=True)]
    mask = computed(specializer, "Concat", *parts, axis=0)
    chosen = specializer.once(("chosen", mask), lambda: specializer.reshape(specializer.call("NonZero", mask), [-1]))
    whole = specializer.new_name(node.output[0])
    settle(specializer, copy_of(node, outputs=[whole]))
    if all(name in specializer.places for name in node.input):
        specializer.places.add(whole)
    gathered = helper.make_node("Gather", [whole, chosen], node.output, name=node.name, axis=joined)
    return keep(specializer, gathered, specializer.rows[chosen], joined)


def _there(specializer: Specializer, rows: Rows | None, extent: int) -> str:
    """Which rows of an operand there are."""
    if rows is None:
        return specializer.once(("all", extent), lambda: specializer.constant(np.ones(extent, bool)))
    places = specializer.once(("places", extent, -1), lambda: specializer.constant(np.arange(extent)))
    return computed(specializer, "Less", places, rows.count)


def scatter(specializer: Specializer, node: NodeProto, _rows: Rows) -> None:
    """To indices that have rows: what there is not goes to a place of its own, which is cut off again."""
    data, indices, updates = node.input
    axis, into = attributes_of(node).get("axis", 0) % len(specializer.shape(data)), specializer.rows.get(data)
    moved = [specializer.rows.get(name) for name in (indices, updates)]
    if moved[0] is None or moved[0] != moved[1] or (into is not None and into.axis != axis):
        raise across(specializer, node)
    shape = specializer.shape(data)
    extent = shape[axis]
    count = into.count if into is not None else specializer.constant(np.array([extent], np.int64))
    place = masked(specializer, from_the_first(specializer, indices, count), extent)
    shape[axis] = 1
    room = computed(
        specializer, "Concat", data, specializer.constant(np.zeros(shape, dtype_of(specializer, data))), axis=axis
    )
    scattered = specializer.new_name(node.output[0])
    settle(specializer, copy_of(node, [room, place, updates], [scattered]))
    bounds = [specializer.constant(np.array([n], np.int64)) for n in (0, extent, axis)]
    cut = helper.make_node("Slice", [scattered, *bounds], node.output, name=node.name)
    if into is None:
        settle(specializer, cut)
    else:
        keep(specializer, cut, into, axis)
