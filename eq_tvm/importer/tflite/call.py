"""One operator of a TFLite network while it becomes ONNX: what its converter reads, gives and refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from onnx import helper

from eq_tvm.errors import UserError
from eq_tvm.importer.tflite.flatbuffer import Operator, Tensor
from eq_tvm.importer.tflite.graph import Operand, Value
from eq_tvm.importer.tflite.quantization import dequantized, holds, is_quantized, quantize
from eq_tvm.importer.tflite.state import State


class Call:
    """An operator with its surroundings.

    Parameters
    ----------
    state : State
    operator : Operator
    """

    def __init__(self, state: State, operator: Operator) -> None:
        self.state = state
        self.operator = operator

    @property
    def kind(self) -> str:
        """The format's name of the operator."""
        return self.operator.kind

    @property
    def name(self) -> str:
        """How its node is called: as its first result, of which TensorFlow joins names by ``;`` that it made one of."""
        return self.result(0).name.split(";")[0]

    def option(self, name: str, default: Any = 0) -> Any:
        """See `Operator.option`."""
        return self.operator.option(name, default)

    def has(self, position: int) -> bool:
        """Whether an operand is there."""
        return position < len(self.operator.inputs) and self.operator.inputs[position] >= 0

    def operand(self, position: int) -> Tensor:
        """What the file says of an operand."""
        if not self.has(position):
            self.refuse(f"lacks operand {position}", "the file is not valid")
        return self.state.network.tensors[self.operator.inputs[position]]

    def result(self, position: int) -> Tensor:
        """What the file says of a result."""
        return self.state.network.tensors[self.operator.outputs[position]]

    def value(self, position: int, *, first: bool = False, integer: bool = False) -> Value:
        """An operand in some form: see `State.value`."""
        self.operand(position)
        return self.state.value(self.operator.inputs[position], first=first, integer=integer)

    def values(self, *, first: bool = False) -> list[Value]:
        """All operands."""
        return [self.value(position, first=first) for position in range(len(self.operator.inputs))]

    def known(self, position: int) -> np.ndarray:
        """The elements of weights, as real numbers where they are quantized; they have to be constant."""
        known = self.state.known(self.operator.inputs[position])
        if known is None:
            self.refuse(f"has weights {self.operand(position).name!r} that are computed", _CUT)
        tensor = self.operand(position)
        return dequantized(tensor) if known.dtype.kind in "iu" and tensor.quantization is not None else known

    def is_given(self, position: int) -> bool:
        """Whether an operand is constant, an input, or the result of another operator."""
        index = self.operator.inputs[position]
        return any((index, integer, False) in self.state.forms for integer in (False, True)) or (
            self.operand(position).data is not None
        )

    def constant(self, position: int) -> np.ndarray:
        """The elements of an operand that has to be constant; quantized ones as integers."""
        value = self.value(position, integer=True).constant
        if value is None:
            self.refuse(f"takes {self.operand(position).name!r} from the data", _CUT)
        return value

    def ints(self, position: int) -> list[int]:
        """The elements of an operand that has to be constant."""
        return [int(each) for each in self.constant(position).reshape(-1)]

    def is_first(self) -> bool:
        """Whether an element-wise operator does well to have channels first: some operand has, and none has fewer axes.

        Constants don't matter.
        """
        tensors, rank = self.state.network.tensors, len(self.result(0).shape)
        variable = [index for index in self.operator.inputs if index >= 0 and self.state.known(index) is None]
        same = all(len(tensors[index].shape) == rank for index in variable)
        return same and any(self.state.is_first(index) for index in variable)

    def is_first_of(self, position: int) -> bool:
        """Whether an operand is there with channels first."""
        return self.state.is_first(self.operator.inputs[position])

    def spread(self, position: int, *, first: bool) -> Value:
        """An operand as others of more axes, with channels first, want it for broadcasting."""
        known, rank = self.state.known(self.operator.inputs[position]), len(self.result(0).shape)
        if not first or known is None:
            return self.value(position, first=first)
        return self.state.graph.constant(np.moveaxis(known.reshape((1,) * (rank - known.ndim) + known.shape), -1, 1))

    def emit(self, operator: str, *operands: Operand, **attributes: Any) -> Value:
        """A node with one result, named as this operator's: see `Graph.emit`."""
        return self.state.graph.emit(operator, *operands, name=attributes.pop("name", self.name), **attributes)

    def give(
        self, value: Value, *, first: bool = False, position: int = 0, moves: bool = False, activates: bool = True
    ) -> None:
        """Say what a result is.

        Parameters
        ----------
        value : Value
            Real numbers, or integers of what is not quantized, without the fused activation.
        first : bool
            Whether it has channels first.
        position : int
            Which result.
        moves : bool
            Whether the elements are some of the operands': integers then stay as they are, if scales are the same.
        activates : bool
            Whether the fused activation, if there is one, is still to come.
        """
        tensor, index = self.result(position), self.operator.outputs[position]
        graph, forms = self.state.graph, self.state.forms
        first = first and len(value.shape) > 2
        self._check(value, tensor, first)
        if activates:
            value = self._activated(value, tensor)
        if not is_quantized(tensor):
            wanted = tensor.dtype
            if wanted is not None and value.dtype != wanted:
                value = graph.emit("Cast", value, to=helper.np_dtype_to_tensor_dtype(wanted))
            forms[index, False, first] = value
            return
        if moves and self._keeps_scales(tensor):
            forms[index, False, first] = value
        else:  # real numbers are from here on what the integers stand for
            forms[index, True, first] = quantize(graph, value, tensor)

    def refuse(self, what: str, way_out: str) -> NoReturn:
        """Raise a UserError that names the file, the operator and its first result."""
        raise UserError(f"{self.state.path}: {self.kind} (tensor {self.name!r}) {what}; {way_out}")

    def _check(self, value: Value, tensor: Tensor, first: bool) -> None:
        shape = (value.shape[0], *value.shape[2:], value.shape[1]) if first else value.shape
        if shape != tensor.shape and not tensor.dynamic:
            self.refuse(f"gives the shape {shape}, where the file has {tensor.shape}", "the file is not valid")

    def _keeps_scales(self, tensor: Tensor) -> bool:
        """Whether a result has the scale and zero point of all quantized operands."""
        tensors = [self.state.network.tensors[index] for index in self.operator.inputs if index >= 0]
        return all(
            each.dtype == tensor.dtype and each.quantization == tensor.quantization
            for each in tensors
            if is_quantized(each)
        )

    def _activated(self, value: Value, tensor: Tensor) -> Value:
        number = self.option("FusedActivationFunction")
        if number == _TANH:
            return self.emit("Tanh", value)
        if number not in _BOUNDS:
            self.refuse(f"has the fused activation {number}", "only ReLU, ReLU6, ReLU_N1_TO_1 and tanh can be read")
        bounds = _BOUNDS[number]
        if bounds is None or (is_quantized(tensor) and holds(tensor, *bounds)):
            return value
        if bounds[1] == np.inf:
            return self.emit("Relu", value)
        return self.emit("Clip", value, *(np.array(bound, value.dtype) for bound in bounds))


Converter = Callable[[Call], None]
_CUT = "only static shapes can be compiled: cut the network before it"
_TANH = 4  # of ActivationFunctionType
_BOUNDS = {0: None, 1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
