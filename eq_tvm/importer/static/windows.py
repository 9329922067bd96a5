"""Resizing and pooling in the forms that the rest of the importer reads."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of, copy_of, replace_attributes
from eq_tvm.importer.protobuf import extents as extents_of
from eq_tvm.importer.static.specializer import Handler, Specializer


def _resize(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    return _resize_by_scales(specializer, node) or (specializer.opset >= 13 and _resize_to_sizes(specializer, node))


def _resize_by_scales(specializer: Specializer, node: NodeProto) -> bool:
    """To as many pixels as runtimes make of a scale.

    They multiply in float32, where 10 times 0.7 is 7; onnx's shape inference takes float32's 0.7 for less than that.
    """
    place = 1 if node.op_type == "Upsample" or specializer.opset < 11 else 2
    scales = specializer.value(node.input[place]) if place < len(node.input) and node.input[place] else None
    extents = specializer.shape(node.input[0])
    if scales is None or len(scales) != len(extents):
        return False
    (output,) = node.output
    sizes = [int(n) for n in np.array(extents, np.float32) * scales.astype(np.float32)]
    if node.input[0] in specializer.constants or 0 in sizes or sizes == extents_of(specializer.infer(node)[output]):
        return False
    specializer.check_shape(node, output, sizes)
    dtype = specializer.types[node.input[0]].tensor_type.elem_type
    specializer.types[output] = helper.make_tensor_type_proto(dtype, sizes)
    specializer.nodes.append(node)
    return True


def _resize_to_sizes(specializer: Specializer, node: NodeProto) -> bool:
    """Without operands that have no elements: before operator set 13, there was no other way to leave one out."""
    empty = [i > 0 and name in specializer.types and 0 in specializer.shape(name) for i, name in enumerate(node.input)]
    if not any(empty):
        return False
    specializer.visit(copy_of(node, ["" if no else name for no, name in zip(empty, node.input, strict=True)]))
    return True


def _pool(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """Without the windows of ``ceil_mode`` that would begin in the padding behind: they are left out.

    The standard says so since operator set 22, and runtimes did before, but onnx's shape inference counts them.
    """
    given = attributes_of(node)
    if not given.get("ceil_mode", 0) or given.get("auto_pad", b"NOTSET") != b"NOTSET":
        return False
    kernel, extents = given["kernel_shape"], specializer.shape(node.input[0])[2:]
    ones, pads = [1] * len(kernel), given.get("pads", [0] * 2 * len(kernel))
    strides, dilations = given.get("strides", ones), given.get("dilations", ones)
    befores, afters, all_there = pads[: len(kernel)], list(pads[len(kernel) :]), True
    for axis, (k, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        left = extents[axis] + befores[axis] + afters[axis] - dilation * (k - 1) - 1
        last = -(-left // stride) * stride  # where the last window begins
        if last >= extents[axis] + befores[axis]:
            all_there = False
        else:
            afters[axis] += last - left
    if all_there:
        return False
    whole = copy_of(node)
    if given.get("count_include_pad", 0):  # but not what is beyond it: padding that counts becomes pixels
        whole.input[0] = _padded(specializer, node.input[0], pads)
        befores, afters = [0] * len(kernel), [more - n for more, n in zip(afters, pads[len(kernel) :], strict=True)]
    replace_attributes(whole, ["ceil_mode", "pads", "count_include_pad"], pads=[*befores, *afters])
    specializer.visit(whole)
    return True


def _padded(specializer: Specializer, data: str, pads: list[int]) -> str:
    half = len(pads) // 2
    widths = [0, 0, *pads[:half], 0, 0, *pads[half:]]
    if specializer.opset < 11:
        return specializer.call("Pad", data, pads=widths)
    return specializer.call("Pad", data, specializer.constant(np.array(widths, np.int64)))


HANDLERS: dict[str, Handler] = {
    "Resize": _resize,
    "Upsample": _resize,
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), _pool),
}
