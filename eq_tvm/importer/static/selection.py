"""Operators that find as many things as there are: their results get room for all that there can be, and a count."""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto, TensorProto, helper

from eq_tvm.importer.protobuf import attributes_of
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.specializer import OURS, Handler, Specializer


def _suppress(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    if all(name in specializer.constants for name in node.input if name):
        return False
    boxes, scores = (specializer.shape(name) for name in node.input[:2])
    limit = specializer.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.int64(0)
    if limit is None:
        raise specializer.refusal(
            node, f"needs a constant limit of boxes: fix it with --constant {node.input[2]}=VALUE"
        )
    most = math.prod(scores[:2]) * max(0, min(int(limit.reshape(())), boxes[1]))
    if not most:
        specializer.constant(np.zeros((0, 3), np.int64), node.output[0])
        return True
    _keep(specializer, node, [most, 3], Rows(0, most, _count(node)))
    return True


def _nonzero(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    if node.input[0] in specializer.constants:
        return False
    shape = specializer.shape(node.input[0])
    most = math.prod(shape)

    def found() -> str:
        _keep(specializer, node, [len(shape), most], Rows(1, most, _count(node)))
        return node.output[0]

    first = specializer.once(("NonZero", node.input[0]), found)
    if first != node.output[0]:  # exporters write one for each use of a mask, whose rows then are the same
        specializer.alias(node.output[0], first)
    return True


def _compress(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """Gather, of what is kept."""
    if node.input[0] in specializer.constants and node.input[1] in specializer.constants:
        return False
    given = attributes_of(node)
    data = node.input[0] if "axis" in given else specializer.reshape(node.input[0], [-1])
    axis = given.get("axis", 0)
    extent = specializer.shape(data)[axis]
    kept = specializer.value(node.input[1])
    if kept is not None:
        rows = specializer.constant(np.flatnonzero(kept[:extent]))
    else:
        condition = node.input[1]
        if specializer.shape(condition)[0] > extent:
            bounds = (specializer.constant(np.array([n], np.int64)) for n in (0, extent))
            condition = specializer.call("Slice", condition, *bounds)
        found = specializer.call("NonZero", condition)
        rows = specializer.reshape(found, [-1])
    specializer.call("Gather", data, rows, output=node.output[0], axis=axis)
    return True


def _count(node: NodeProto) -> str:
    return node.output[1] if len(node.output) > 1 else f"{node.output[0]}:count"


def _keep(specializer: Specializer, node: NodeProto, shape: list[int], rows: Rows) -> None:
    """The standard's operator has one result, and no static type."""
    result = node.output[0]
    ours = helper.make_node(node.op_type, node.input, [result, rows.count], name=node.name, domain=OURS)
    ours.attribute.extend(node.attribute)
    specializer.nodes.append(ours)
    for name, extents in ((result, shape), (rows.count, [1])):
        specializer.types[name] = helper.make_tensor_type_proto(TensorProto.INT64, extents)
    specializer.rows[result] = rows
    specializer.places.add(result)


HANDLERS: dict[str, Handler] = {"Compress": _compress, "NonMaxSuppression": _suppress, "NonZero": _nonzero}
