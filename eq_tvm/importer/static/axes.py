"""Axes as the standard does not have them: counted from behind in old operator sets, or in no list."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from eq_tvm.importer.protobuf import attributes_of, copy_of, replace_attributes

_SINCE = 11


def from_the_front(node: NodeProto, opset: int, rank: int | None) -> NodeProto:
    """A node with its axes counted from the front.

    Exporters and runtimes count from behind in every operator set, where onnx's shape inference before 11 finds no
    shape, or a wrong one.

    Parameters
    ----------
    node : onnx.NodeProto
    opset : int
        Of the model.
    rank : int, optional
        Of the node's first operand; None where it is not known.
    """
    given = attributes_of(node)
    axes = {name: given[name] for name in ("axis", "axes") if name in given}
    lists = [[value] if name == "axis" else list(value) for name, value in axes.items()]
    known = opset < _SINCE and node.op_type != "OneHot"
    if rank is None or not known or min(map(min, filter(None, lists)), default=0) >= 0:
        return node
    rank += len(given["axes"]) if node.op_type == "Unsqueeze" else 0
    counted = copy_of(node)
    changed = {
        name: value % rank if name == "axis" else [axis % rank for axis in value] for name, value in axes.items()
    }
    replace_attributes(counted, changed, **changed)
    return counted


def in_a_list(
    node: NodeProto, value: Callable[[str], np.ndarray | None], constant: Callable[[np.ndarray], str]
) -> NodeProto:
    """An Unsqueeze with its axis in a list: torch's exporter gives a scalar (of keys that several queries share).

    Of the operators with such operands, ONNX Runtime takes a scalar of this one alone. `value` gives a constant's
    value, and `constant` the name of a new one.
    """
    axis = value(node.input[1]) if node.op_type == "Unsqueeze" and len(node.input) > 1 else None
    if axis is None or axis.ndim:
        return node
    listed = copy_of(node)
    listed.input[1] = constant(axis.reshape(1))
    return listed
