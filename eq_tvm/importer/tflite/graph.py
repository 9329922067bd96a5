"""Building an ONNX graph node by node, with the shape and dtype of each value beside its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eq_tvm.importer.names import unique
from eq_tvm.importer.static.standard import evaluate

OPSET = 17


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the ONNX graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : numpy.dtype
    constant : numpy.ndarray or None
        Its elements where they are known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    constant: np.ndarray | None = None


Operand = Value | np.ndarray | None  # an array is a constant; None is left out


class Graph:
    """An ONNX graph under construction.

    Operators on constants are computed at once, and constants that no node reads are not written.
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._values: set[str] = set()
        self._names: set[str] = set()

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names from values inside; `input` and `model` may give them."""
        self._values.update(names)

    def input(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Value:
        """An input of the network, whose name is taken as it is."""
        self._values.add(name)
        value = Value(name, tuple(shape), dtype)
        self._inputs.append(_info(value))
        return value

    def constant(self, array: np.ndarray, name: str = "constant") -> Value:
        """A value that is known."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        return Value(unique(name, self._values), array.shape, array.dtype, array)

    def emit(self, operator: str, *operands: Operand, name: str = "", fold: bool = True, **attributes: Any) -> Value:
        """A node with one result.

        Parameters
        ----------
        operator : str
        operands : Value, numpy.ndarray or None
        name : str
            Of the node and its result, which get a number where it is taken.
        fold : bool
            Whether to compute at once what is known.
        attributes
            None is left out.
        """
        return self.emit_several(operator, *operands, count=1, name=name, fold=fold, **attributes)[0]

    def emit_several(
        self, operator: str, *operands: Operand, count: int, name: str = "", fold: bool = True, **attributes: Any
    ) -> list[Value]:
        """A node with `count` results; see `emit`."""
        values = [self.constant(each) if isinstance(each, np.ndarray) else each for each in operands]
        read = [value for value in values if value is not None]
        results = [unique(name or operator, self._values) for _ in range(count)]
        names = [value.name if value else "" for value in values]
        node = helper.make_node(operator, names, results, name=unique(name or operator, self._names), **attributes)
        known = fold and read and all(value.constant is not None for value in read)
        if known and (computed := evaluate(node, {value.name: value.constant for value in read}, {"": OPSET})):
            return [self.constant(np.asarray(computed[result]), result) for result in results]
        types = _inferred(node, read)
        for value in read:
            if value.constant is not None and value.name not in self._initializers:
                self._initializers[value.name] = numpy_helper.from_array(value.constant, value.name)
        self._nodes.append(node)
        return [Value(result, *types[result]) for result in results]

    def model(self, outputs: Sequence[tuple[str, Value]], notes: str = "") -> onnx.ModelProto:
        """The whole, with outputs of the given names (a number behind an input's); `notes` are its ``doc_string``."""
        results, taken = [], {value.name for value in self._inputs}
        for wanted, value in outputs:
            name = unique(wanted, taken)
            given = self.emit("Identity", value, fold=False)
            self._nodes[-1].output[:] = [name]
            results.append(_info(Value(name, given.shape, given.dtype)))
        graph = helper.make_graph(
            self._nodes, "tflite", self._inputs, results, initializer=list(self._initializers.values())
        )
        return helper.make_model(graph, opset_imports=_OPSETS, ir_version=8, doc_string=notes, producer_name="eq_tvm")


_OPSETS = [helper.make_opsetid("", OPSET)]


def _info(value: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _inferred(node: onnx.NodeProto, read: Sequence[Value]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    schema = onnx.defs.get_schema(node.op_type, OPSET, "")
    types = {value.name: _info(value).type for value in read}
    data = {v.name: numpy_helper.from_array(v.constant, v.name) for v in read if _decides_shapes(v)}
    inferred = onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=_OPSETS)
    found = {}
    for name, ty in inferred.items():
        dims = tuple(axis.dim_value for axis in ty.tensor_type.shape.dim)
        found[name] = dims, helper.tensor_dtype_to_np_dtype(ty.tensor_type.elem_type)
    return found


def _decides_shapes(value: Value) -> bool:
    return value.constant is not None and value.constant.ndim <= 1 and value.constant.size <= 64
