"""Whether the tensors in an ONNX file can be what they say: nobody else looks before they are read."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from eq_tvm.errors import UserError, reason
from eq_tvm.importer.protobuf import tensors_in


def check_contents(path: str | Path, model: onnx.ModelProto) -> None:
    """Raise a UserError for a tensor whose type there is not, or whose data do not fill its shape."""
    nodes = [node for function in model.functions for node in function.node]
    for tensor in tensors_in(model.graph.initializer, [*model.graph.node, *nodes]):
        if problem := _problem(tensor):
            raise UserError(f"{path}: constant {tensor.name!r} {problem}: the file is damaged")


def _problem(tensor: TensorProto) -> str:
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        return f"has the unknown type {tensor.data_type}"
    shape = ", ".join(map(str, tensor.dims))
    if min(tensor.dims, default=0) < 0:
        return f"has the shape ({shape})"
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data") and tensor.data_type not in _PACKED:
        needed = count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        has = len(tensor.raw_data)
        return "" if has == needed else f"has {has} bytes, which do not fill its shape ({shape}), but {needed} do"
    if count > onnx.checker.MAXIMUM_PROTOBUF:
        return f"has the shape ({shape})"
    try:
        numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as e:
        return f"has values that do not fill its shape ({shape}): {reason(e)}"
    return ""


# Several numbers to a byte
_PACKED = {
    value for name, value in TensorProto.DataType.items() if name.endswith(("INT4", "INT2", "E2M1", "E2M3", "E3M2"))
}
