"""Compute in float32 what a model computes in float16 or bfloat16."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that computes in float32; its inputs and outputs keep their types.

    Every processor that we compile for is at home in float32, and the quantizer needs it; float16 is how a file is
    made small. Nothing is lost but the roundings in between.
    """
    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if _dtype(value.type) in NARROW and value.name not in initializers]
    outputs = [value for value in graph.output if _dtype(value.type) in NARROW]
    if not (inputs or outputs or any(_is_narrow(node) for node in graph.node)) and not any(
        tensor.data_type in NARROW for tensor in graph.initializer
    ):
        return model
    widened = onnx.ModelProto()
    widened.CopyFrom(model)
    graph = widened.graph
    _widen_graph(graph)
    names = {value.name: f"{value.name}:float32" for value in [*inputs, *outputs]}
    _rename(graph.node, names)
    nodes = list(graph.node)
    del graph.node[:]
    for value in graph.input:
        value.type.CopyFrom(next((v.type for v in inputs if v.name == value.name), value.type))
    for value in graph.output:
        value.type.CopyFrom(next((v.type for v in outputs if v.name == value.name), value.type))
    before = [_cast(value.name, names[value.name], TensorProto.FLOAT) for value in inputs]
    after = [_cast(names[value.name], value.name, _dtype(value.type)) for value in outputs]
    graph.node.extend([*before, *nodes, *after])
    return widened


def _cast(source: str, result: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], name=result, to=to)


def _dtype(ty: TypeProto) -> int:
    return ty.tensor_type.elem_type


def _is_narrow(node: NodeProto) -> bool:
    for attribute in node.attribute:
        if attribute.name in _TYPES and attribute.i in NARROW:
            return True
        if attribute.type == AttributeProto.TENSOR and attribute.t.data_type in NARROW:
            return True
        if attribute.type == AttributeProto.GRAPH and any(map(_is_narrow, attribute.g.node)):
            return True
    return False


_TYPES = ("to", "dtype", "output_dtype", "stash_type", "softmax_precision")  # attributes that hold an element type


def _widen_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in [*graph.input, *graph.output]:
        if _dtype(value.type) in NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.i in NARROW:
                attribute.i = TensorProto.FLOAT
            elif attribute.type == AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif attribute.type == AttributeProto.GRAPH:
                _widen_graph(attribute.g)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in NARROW:
        value = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def _rename(nodes: Iterable[NodeProto], names: dict[str, str]) -> None:
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _rename(attribute.g.node, names)
                for value in attribute.g.output:
                    value.name = names.get(value.name, value.name)
