"""Operators whose result their operands' types decide, or that do nothing."""

import numpy as np
from onnx import NodeProto, helper

from eq_tvm.importer.protobuf import attributes_of
from eq_tvm.importer.static.specializer import Handler, Specializer


def _shape(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    if node.input[0] in specializer.sequences:
        return False
    shape = specializer.shape(node.input[0])
    given = attributes_of(node)
    specializer.constant(
        np.array(shape[given.get("start", 0) : given.get("end", len(shape))], np.int64), node.output[0]
    )
    return True


def _size(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    specializer.constant(np.int64(np.prod(specializer.shape(node.input[0]), dtype=np.int64)), node.output[0])
    return True


def _identity(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    specializer.alias(node.output[0], node.input[0])
    return True


def _dropout(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """The identity when not training."""
    training = specializer.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.bool_(False)
    ratio = specializer.value(node.input[1]) if len(node.input) > 1 and node.input[1] else np.float32(0.5)
    if (training is None or training) and (ratio is None or ratio):
        raise specializer.refusal(node, "trains, which is random; export the model for inference")
    if len(node.output) > 1 and node.output[1]:
        specializer.constant(np.ones(specializer.shape(node.input[0]), bool), node.output[1])
    return _identity(specializer, node, _scope)


def _cast_like(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    if node.input[1] not in specializer.types:
        return False
    dtype = specializer.types[node.input[1]].tensor_type.elem_type
    saturate = [attribute for attribute in node.attribute if attribute.name == "saturate"]
    cast = helper.make_node("Cast", node.input[:1], node.output[:1], name=node.name, to=dtype)
    cast.attribute.extend(saturate if specializer.opset >= 19 else [])
    specializer.visit(cast)
    return True


def _cast(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """Nothing, from a type to itself."""
    source = specializer.types.get(node.input[0])
    same = source is not None and source.tensor_type.elem_type == attributes_of(node)["to"]
    return same and _identity(specializer, node, _scope)


def _eye_like(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    given = attributes_of(node)
    dtype = given.get("dtype", specializer.types[node.input[0]].tensor_type.elem_type)
    rows, columns = specializer.shape(node.input[0])
    value = np.eye(rows, columns, given.get("k", 0), helper.tensor_dtype_to_np_dtype(dtype))
    specializer.constant(value, node.output[0])
    return True


def _stft(specializer: Specializer, node: NodeProto, _scope: dict[str, str]) -> bool:
    """With its default told, which onnx's shape inference takes for another."""
    if "onesided" in attributes_of(node):
        return False
    told = helper.make_node("STFT", node.input, node.output, name=node.name, onesided=1)
    specializer.visit(told)
    return True


HANDLERS: dict[str, Handler] = {
    "Shape": _shape,
    "Size": _size,
    "Identity": _identity,
    "Dropout": _dropout,
    "CastLike": _cast_like,
    "Cast": _cast,
    "EyeLike": _eye_like,
    "STFT": _stft,
}
