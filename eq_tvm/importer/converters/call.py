"""What a converter is given, and gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from tvm import relax, tirx

from eq_tvm.passes.graph.rewrite import array
from eq_tvm.passes.graph.states import SCHEDULED
from eq_tvm.passes.lower.named_kernels import OPAQUE


@dataclass(frozen=True)
class OnnxCall:
    """One node of an ONNX graph, with its operands in Relax.

    Attributes
    ----------
    node : onnx.NodeProto
    inputs : tuple of relax.Expr
        None for an optional input that is left out, also at the end of the list: ask `operand`.
    builder : relax.BlockBuilder
        In a dataflow block of the function that is being imported.
    opset : int
        Of the default domain, 13 at least.
    """

    node: onnx.NodeProto
    inputs: tuple[Any, ...]
    builder: relax.BlockBuilder
    opset: int

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """By name; strings are str, tensors are numpy arrays, those that the node leaves out are absent."""
        return {attribute.name: _value(attribute) for attribute in self.node.attribute}

    def operand(self, index: int) -> Any:
        """An input, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> np.ndarray | None:
        """The value of an input, None where it is left out; ValueError where it is computed from the data."""
        operand = self.operand(index)
        if operand is not None and array(operand) is None:
            name = self.node.input[index]
            is_input = isinstance(operand, relax.Var) and not isinstance(operand, relax.DataflowVar)
            remedy = f": fix it with --constant {name}=VALUE" if is_input else ""
            raise ValueError(f"its input {name!r} must be constant{remedy}")
        return None if operand is None else array(operand)

    def number(self, index: int, default: int = 0) -> int:
        """The value of a constant input of one element; ValueError as `constant`."""
        value = self.constant(index)
        return default if value is None else int(value.reshape(()))

    def kernel(
        self, function: tirx.PrimFunc, operands: Sequence[relax.Expr], results: Sequence[tuple[Sequence[int], str]]
    ) -> list[relax.Expr]:
        """The results of a scheduled kernel of our own, each with the shape and dtype given."""
        name = self.builder.add_func(
            function.with_attr({SCHEDULED: True, "op_pattern": OPAQUE}), self.node.op_type.lower()
        )
        types = [relax.TensorType(shape, dtype) for shape, dtype in results]
        called = self.builder.emit(relax.call_tir(name, relax.Tuple(list(operands)), out_ty=types))
        return [self.builder.emit(relax.TupleGetItem(called, index)) for index in range(len(types))]

    def shape(self, index: int) -> tuple[int, ...]:
        """Static shape of an input."""
        return tuple(int(extent) for extent in self.inputs[index].ty.shape)

    def dtype(self, index: int) -> str:
        """Element type of an input."""
        return str(self.inputs[index].ty.dtype)


# Gives the node's results in the node's order: one tensor, or a relax.Tuple of them; None leaves it to TVM's importer
Converter = Callable[[OnnxCall], relax.Expr | None]


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [each.decode() for each in value]
    return value
