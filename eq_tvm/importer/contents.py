"""Whether the tensors in an ONNX file can be what they say: nobody else looks before they are read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from eq_tvm.errors import UserError, reason


def check_contents(path: str | Path, model: onnx.ModelProto) -> None:
    """Raise a UserError for a tensor whose type there is not, or whose data do not fill its shape."""
    tensors = list(model.graph.initializer)
    for node in _nodes(model):
        for attribute in node.attribute:
            tensors += [attribute.t] if attribute.type == AttributeProto.TENSOR else attribute.tensors
            tensors += (tensor for graph in (attribute.g, *attribute.graphs) for tensor in graph.initializer)
    for tensor in tensors:
        if problem := _problem(tensor):
            raise UserError(f"{path}: the constant {tensor.name!r} {problem}")


def _nodes(model: onnx.ModelProto) -> Iterator[NodeProto]:
    """Those of functions and of subgraphs as well, which may be nested deep."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            pending += (inner for graph in (attribute.g, *attribute.graphs) for inner in graph.node)


def _problem(tensor: TensorProto) -> str:
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        return f"has the unknown type {tensor.data_type}"
    shape = ", ".join(map(str, tensor.dims))
    if min(tensor.dims, default=0) < 0:
        return f"has the shape ({shape})"
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data") and tensor.data_type not in _PACKED:
        needed = count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        return "" if len(tensor.raw_data) == needed else f"({shape}) has {len(tensor.raw_data)} bytes, not {needed}"
    if count > onnx.checker.MAXIMUM_PROTOBUF:
        return f"has the shape ({shape})"
    try:
        numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as e:
        return f"({shape}) can't be read: {reason(e)}"
    return ""


# Several numbers to a byte
_PACKED = {
    value for name, value in TensorProto.DataType.items() if name.endswith(("INT4", "INT2", "E2M1", "E2M3", "E3M2"))
}
