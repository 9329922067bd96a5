"""Reading and changing the parts of an ONNX model, where onnx's own helpers end."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import onnx
from onnx import AttributeProto, NodeProto, TensorProto, TypeProto, helper


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name, as `onnx.helper.get_attribute_value` gives them: strings are bytes."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def copy_of(node: NodeProto, inputs: Iterable[str] | None = None, outputs: Iterable[str] | None = None) -> NodeProto:
    """A copy, with other operands or results if they are given."""
    copied = NodeProto()
    copied.CopyFrom(node)
    copied.input[:] = copied.input if inputs is None else inputs
    copied.output[:] = copied.output if outputs is None else outputs
    return copied


def tensors_in(initializers: Iterable[TensorProto], nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """All tensors of a graph, also in its nodes' attributes, and in their subgraphs, which may be nested deep."""
    yield from initializers
    pending = list(nodes)
    while pending:
        for attribute in pending.pop().attribute:
            yield from [attribute.t] if attribute.type == AttributeProto.TENSOR else attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer
                pending += graph.node


def replace_attributes(node: NodeProto, names: Collection[str], **added: Any) -> None:
    """Leave out the attributes of these names, and add some."""
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in added.items())])


def extents(ty: TypeProto) -> list[int]:
    """Shape of a tensor's static type."""
    return [axis.dim_value for axis in ty.tensor_type.shape.dim]


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Of a static model, the shapes of all tensors."""
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    constants = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return {value.name: extents(value.type) for value in values} | constants
