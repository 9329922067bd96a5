"""An ONNX graph, written node by node with the type of every value at hand."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, helper, numpy_helper

from eq_tvm.importer.names import unique
from eq_tvm.importer.protobuf import extents
from eq_tvm.importer.relay.values import Value
from eq_tvm.importer.static.standard import evaluate

OPSET = 17
_LARGE = 1024  # elements: constants beyond are no shapes, axes or the like


class GraphWriter:
    """Nodes and initializers, in order.

    Attributes
    ----------
    dequantized : dict
        Real numbers that integers stand for, by their names, scales and zero points.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.names: set[str] = set()
        self.dequantized: dict[tuple[Hashable, ...], Value] = {}

    def unique(self, name: str) -> str:
        """The name, or it with a number where it is taken."""
        return unique(name, self.names)

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> Value:
        """An input of the graph."""
        return Value(self.unique(name), shape, dtype)

    def constant(self, array: Any, name: str = "constant") -> Value:
        """A constant; those of the same content under one name are written twice."""
        array = np.asarray(array)
        value = Value(self.unique(name), array.shape, array.dtype.name, array)
        self.initializers[value.name] = array
        return value

    def emit(self, name: str, operator: str, inputs: Sequence[Value | None], **attributes: Any) -> Value:
        """A node with one result."""
        return self.emit_several(name, operator, inputs, 1, **attributes)[0]

    def emit_several(
        self, name: str, operator: str, inputs: Sequence[Value | None], count: int, **attributes: Any
    ) -> list[Value]:
        """A node with `count` results. What reads nothing but constants is computed at once.

        Raises
        ------
        ValueError
            Shapes and dtypes that the operator doesn't take.
        """
        name = self.unique(name)
        outputs = [name, *(self.unique(f"{name}.{i}") for i in range(1, count))]
        node = helper.make_node(operator, [v.name if v else "" for v in inputs], outputs, name=name, **attributes)
        given = [value for value in inputs if value is not None]
        if any(value.accumulator is not None for value in given):
            raise ValueError(
                "it reads the sums of a quantized layer before they are requantized; requantize them first"
            )
        _check_dtypes(node, inputs)
        types = self._types(node, given)
        results = _computed(node, given)
        if results and operator != "DequantizeLinear":  # that stays, for what reads it is a quantized layer
            self.names.difference_update(outputs)
            return [self.constant(result, output) for result, output in zip(results, outputs, strict=True)]
        self.nodes.append(node)
        arrays = dict(zip(outputs, results or (), strict=False))
        return [
            Value(output, tuple(extents(ty)), _dtype(ty), arrays.get(output))
            for output, ty in zip(outputs, types, strict=True)
        ]

    def _types(self, node: onnx.NodeProto, given: Sequence[Value]) -> list[TypeProto]:
        small = {
            value.name: numpy_helper.from_array(value.array, value.name)
            for value in given
            if value.array is not None and value.array.size <= _LARGE
        }
        try:
            found = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(node.op_type, OPSET),
                node,
                {value.name: _type(value) for value in given},
                small,
                opset_imports=[_OPSET],
            )
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError) as error:
            raise ValueError(f"ONNX's {node.op_type} does not take it ({_last_line(error)})") from None
        types = [found[output] for output in node.output if output in found]
        static = [ty for ty in types if all(axis.HasField("dim_value") for axis in ty.tensor_type.shape.dim)]
        if len(static) < len(node.output) or not all(ty.tensor_type.HasField("shape") for ty in types):
            raise ValueError("the shape of its result is not static; save the module with static shapes")
        return types


def _computed(node: onnx.NodeProto, given: Sequence[Value]) -> list[np.ndarray] | None:
    """Results of a node that reads nothing but constants."""
    feeds = {value.name: value.array for value in given if value.array is not None}
    large = any(array.size > _LARGE for array in feeds.values())
    if len(feeds) < len({value.name for value in given}) or (node.op_type == "DequantizeLinear" and large):
        return None
    found = evaluate(node, feeds, {"": OPSET})
    return None if found is None else [np.asarray(found[name]) for name in node.output]


_OPSET = helper.make_opsetid("", OPSET)


def _check_dtypes(node: onnx.NodeProto, inputs: Sequence[Value | None]) -> None:
    """Shape inference does not mind dtypes that an operator does not have, or that differ."""
    formal = onnx.defs.get_schema(node.op_type, OPSET).inputs
    bound: dict[str, str] = {}
    for index, value in enumerate(inputs):
        if value is None:
            continue
        kind = TensorProto.DataType.Name(onnx_dtype(value.dtype)).lower()
        parameter = formal[min(index, len(formal) - 1)]
        if f"tensor({kind})" not in parameter.types:
            raise ValueError(f"ONNX's {node.op_type} does not take {value.dtype}; save the network of floats")
        if parameter.is_homogeneous and bound.setdefault(parameter.type_str, value.dtype) != value.dtype:
            raise ValueError(f"it has {bound[parameter.type_str]} and {value.dtype}, where both should be alike")


def onnx_dtype(dtype: str) -> int:
    """ONNX's number of a dtype."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _type(value: Value) -> TypeProto:
    return helper.make_tensor_type_proto(onnx_dtype(value.dtype), value.shape)


def _dtype(ty: TypeProto) -> str:
    elements = ty.tensor_type.elem_type
    return "" if elements == TensorProto.UNDEFINED else helper.tensor_dtype_to_np_dtype(elements).name


def _last_line(error: Exception) -> str:
    return " ".join(str(error).split())
