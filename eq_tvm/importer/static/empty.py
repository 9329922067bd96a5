"""Tensors without elements: their values are known, and what is cut off or appended is nothing."""

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of, copy_of, extents
from eq_tvm.importer.static.specializer import Handler, Specializer


def _concat(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """Without operands that have no elements."""
    if any(name not in specializer.types for name in node.input):
        return False
    kept = [name for name in node.input if 0 not in specializer.shape(name)]
    if len(kept) in (0, len(node.input)):
        return False
    if len(kept) == 1:
        specializer.alias(node.output[0], kept[0])
    else:
        specializer.visit(copy_of(node, kept, node.output))
    return True


def _split(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """Without results that have no elements."""
    types = specializer.infer(node)
    if len(types) < len(node.output) or node.input[0] in specializer.constants:
        return False
    shapes = [extents(types[name]) for name in node.output]
    kept = [name for name, shape in zip(node.output, shapes, strict=True) if 0 not in shape]
    if len(kept) in (0, len(node.output)):
        return False
    for name, shape in zip(node.output, shapes, strict=True):
        if name not in kept:
            dtype = helper.tensor_dtype_to_np_dtype(types[name].tensor_type.elem_type)
            specializer.constant(np.zeros(shape, dtype), name)
    if len(kept) == 1:
        specializer.alias(kept[0], node.input[0])
        return True
    axis = attributes_of(node).get("axis", 0)
    sizes = [shape[axis] for name, shape in zip(node.output, shapes, strict=True) if name in kept]
    if specializer.opset >= 13:
        split = specializer.constant(np.array(sizes, np.int64))
        specializer.visit(helper.make_node("Split", [node.input[0], split], kept, name=node.name, axis=axis))
    else:
        specializer.visit(helper.make_node("Split", node.input[:1], kept, name=node.name, axis=axis, split=sizes))
    return True


def _range(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """Of vectors of one element, which the standard's own functions give it."""
    if all(specializer.shape(name) == [] for name in node.input):
        return False
    if any(np.prod(specializer.shape(name)) != 1 for name in node.input):
        return False
    specializer.visit(copy_of(node, [specializer.reshape(name, []) for name in node.input], node.output))
    return True


HANDLERS: dict[str, Handler] = {"Concat": _concat, "Range": _range, "Split": _split}
