"""What the rules for operators share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnx import NodeProto

from eq_tvm.errors import UserError
from eq_tvm.importer.static.counted import Rows
from eq_tvm.importer.static.specializer import Specializer


def across(specializer: Specializer, node: NodeProto) -> UserError:
    """To raise: an operator reads across rows, or is not known not to."""
    reason = "can't be computed row by row, where the number of rows depends on the data: cut the model before it"
    return specializer.refusal(node, reason)


# Operators that give elements of their operands
_MOVING = {"Concat", "Expand", "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}

# Keeps a node, and says which axis of its results has rows; the last argument is what its operands have
Rule = Callable[[Specializer, NodeProto, Rows], None]


def keep(specializer: Specializer, node: NodeProto, rows: Rows, axis: int | None) -> None:
    """Leave a node to be computed, whose results have the rows on this axis.

    Raises
    ------
    UserError
        There is no such axis.
    """
    if axis is None:
        raise across(specializer, node)
    specializer.keep(node)
    specializer.rows.update((name, replace(rows, axis=axis)) for name in node.output if name)
    moved = node.input if node.op_type == "Concat" else node.input[:1]
    if node.op_type in _MOVING and all(name in specializer.places for name in moved):
        specializer.places.update(filter(None, node.output))


def along(axis_of: Callable[[Specializer, NodeProto, int], int | None]) -> Rule:
    """A rule of an operator whose first operand alone may have rows."""

    def rule(specializer: Specializer, node: NodeProto, rows: Rows) -> None:
        first, *others = node.input
        if first not in specializer.rows or any(name in specializer.rows for name in others):
            raise across(specializer, node)
        keep(specializer, node, rows, axis_of(specializer, node, specializer.rows[first].axis))

    return rule
