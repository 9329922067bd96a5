"""The tensors of a TFLite network that ONNX values stand for so far, each in one or several forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eq_tvm.errors import UserError
from eq_tvm.importer.tflite.flatbuffer import Network
from eq_tvm.importer.tflite.graph import Graph, Value
from eq_tvm.importer.tflite.quantization import dequantize, dequantized, is_quantized, quantize


@dataclass
class State:
    """What is known while operators become ONNX, in the order of the file.

    TFLite has channels last, and ONNX's convolutions have them first. An operator reads and gives what suits it; a
    Transpose stands only where two of them differ.

    Attributes
    ----------
    path : pathlib.Path
    network : Network
    graph : Graph
    forms : dict of (int, bool, bool) to Value
        By tensor, whether it is in integers of which it is quantized, and whether channels come first.
    """

    path: Path
    network: Network
    graph: Graph
    forms: dict[tuple[int, bool, bool], Value] = field(default_factory=dict)

    def value(self, index: int, *, first: bool = False, integer: bool = False) -> Value:
        """A tensor in some form, made of another one where that is not there yet.

        Parameters
        ----------
        index : int
        first : bool
            Whether channels, the file's last axis, come behind the batch. Below three axes that is the same.
        integer : bool
            Whether a quantized tensor is wanted as integers, not as the real numbers that they stand for.
        """
        tensor = self.network.tensors[index]
        integer, first = integer and is_quantized(tensor), first and len(tensor.shape) > 2
        wanted = index, integer, first
        if wanted in self.forms:
            return self.forms[wanted]
        if tensor.data is not None:
            data = dequantized(tensor) if is_quantized(tensor) and not integer else tensor.data
            made = self.graph.constant(np.moveaxis(data, -1, 1) if first else data, tensor.name)
        elif (index, integer, not first) in self.forms:
            made = self._turned(self.forms[index, integer, not first], first)
        else:
            there = next((each for each in (first, not first) if (index, not integer, each) in self.forms), None)
            if there is None:
                raise UserError(f"{self.path}: nothing gives the tensor {tensor.name!r}; the file is not valid")
            change = quantize if integer else dequantize
            made = change(self.graph, self.forms[index, not integer, there], tensor)
            if there != first:
                self.forms[index, integer, there] = made
                return self.value(index, first=first, integer=integer)
        self.forms[wanted] = made
        return made

    def known(self, index: int) -> np.ndarray | None:
        """The elements of a tensor that does not depend on the inputs: real numbers of what is quantized."""
        if self.network.tensors[index].data is None and (index, False, False) not in self.forms:
            return None
        return self.value(index).constant

    def is_first(self, index: int) -> bool:
        """Whether a tensor is there with channels first."""
        return any((index, integer, True) in self.forms for integer in (False, True))

    def _turned(self, value: Value, first: bool) -> Value:
        rank = len(value.shape)
        order = (0, rank - 1, *range(1, rank - 1)) if first else (0, *range(2, rank), 1)
        return self.graph.emit("Transpose", value, perm=order)
