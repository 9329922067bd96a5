"""Sequences and optionals of tensors, whose members are known while importing."""

import numpy as np
from onnx import NodeProto

from eq_tvm.importer.protobuf import attributes_of
from eq_tvm.importer.static.specializer import Handler, Specializer


def _construct(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    specializer.sequences[node.output[0]] = list(node.input)
    return True


def _at(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    specializer.alias(node.output[0], _members(specializer, node)[_position(specializer, node, 1)])
    return True


def _erase(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    members = list(_members(specializer, node))
    del members[_position(specializer, node, 1) if len(node.input) > 1 else -1]
    specializer.sequences[node.output[0]] = members
    return True


def _insert(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    members = list(_members(specializer, node))
    members.insert(_position(specializer, node, 2) if len(node.input) > 2 else len(members), node.input[1])
    specializer.sequences[node.output[0]] = members
    return True


def _length(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    specializer.constant(np.int64(len(_members(specializer, node))), node.output[0])
    return True


def _concat(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    given = attributes_of(node)
    axis, members = given["axis"], _members(specializer, node)
    if given.get("new_axis"):
        shape = specializer.shape(members[0])
        axis %= len(shape) + 1
        members = [specializer.reshape(name, [*shape[:axis], 1, *shape[axis:]]) for name in members]
    specializer.call("Concat", *members, output=node.output[0], axis=axis)
    return True


def _split(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    given = attributes_of(node)
    shape = specializer.shape(node.input[0])
    axis = given.get("axis", 0) % len(shape)
    sizes = specializer.value(node.input[1]) if len(node.input) > 1 and node.input[1] else np.array(1)
    if sizes is None:
        raise specializer.refusal(node, "splits by sizes that depend on the data")
    if sizes.ndim == 0:
        starts = np.arange(0, shape[axis], int(sizes))
    else:
        starts = np.cumsum([0, *sizes[:-1]])
    parts = []
    for start, end in zip(starts, [*starts[1:], shape[axis]], strict=True):
        operands = [specializer.constant(np.array([value], np.int64)) for value in (start, end, axis)]
        part = specializer.call("Slice", node.input[0], *operands)
        if len(node.input) < 2 and not given.get("keepdims", 1):
            part = specializer.reshape(part, shape[:axis] + shape[axis + 1 :])
        parts.append(part)
    specializer.sequences[node.output[0]] = parts
    return True


def _optional(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    if node.input:
        specializer.alias(node.output[0], node.input[0])
    else:
        specializer.sequences[node.output[0]] = []
    return True


def _get_element(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    specializer.alias(node.output[0], node.input[0])
    return True


def _has_element(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    there = bool(node.input and node.input[0]) and specializer.sequences.get(node.input[0]) != []
    specializer.constant(np.bool_(there), node.output[0])
    return True


HANDLERS: dict[str, Handler] = {
    "SequenceConstruct": _construct,
    "SequenceEmpty": _construct,
    "SequenceAt": _at,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "ConcatFromSequence": _concat,
    "SplitToSequence": _split,
    "Optional": _optional,
    "OptionalGetElement": _get_element,
    "OptionalHasElement": _has_element,
}


def _members(specializer: Specializer, node: NodeProto) -> list[str]:
    if node.input[0] not in specializer.sequences:
        raise specializer.refusal(node, "reads a sequence that is an input; only tensors can be inputs")
    return specializer.sequences[node.input[0]]


def _position(specializer: Specializer, node: NodeProto, index: int) -> int:
    value = specializer.value(node.input[index])
    if value is None:
        raise specializer.refusal(node, "reads a position that depends on the data")
    count = len(specializer.sequences[node.input[0]])
    position = int(value)
    if not -count <= position <= count:
        raise specializer.refusal(node, f"reads position {position} of a sequence of {count}")
    return position
