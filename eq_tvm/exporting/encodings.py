"""A quantized network as AIMET has it: a float network, and a file with the encodings of its tensors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eq_tvm.errors import UserError
from eq_tvm.importer.protobuf import attributes_of


def to_encodings(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The float network, and its encodings in AIMET's format 1.0.0.

    Weights and biases are the real numbers that integers stand for. Encodings have 8 or 16 bits. What begins at 0, and
    ranges of fewer integers, are clipped as real numbers before: relu is nowhere else. Symmetric encodings have one
    integer more, -128.

    Parameters
    ----------
    model : onnx.ModelProto
        What `exporting.qdq.to_onnx` makes.

    Raises
    ------
    UserError
        Activations have several scales; names the tensor.
    """
    network = _Network(model)
    for node in model.graph.node:
        network.add(node)
    return network.model(), {
        "version": "1.0.0",
        "activation_encodings": network.activations,
        "param_encodings": network.params,
        "quantizer_args": {
            "activation_bitwidth": max((encoding["bw"] for encoding in network.activations), default=8),
            "dtype": "int",
            "is_symmetric": True,
            "param_bitwidth": 8,
            "per_channel_quantization": True,
            "quant_scheme": "post_training_tf",
        },
        "excluded_layers": [],
    }


class _Network:
    """A float network that is being made of a quantized one."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.source = model
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.activations: list[dict[str, Any]] = []
        self.params: list[dict[str, Any]] = []
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._readers = Counter(name for node in model.graph.node for name in node.input)
        self._names: dict[str, str] = {}  # of what stands for a tensor now
        self._positive: set[str] = set()  # what was dequantized from integers of at least 0

    def add(self, node: onnx.NodeProto) -> None:
        """Take a node; nothing of a pair but its encoding."""
        if node.op_type == "DequantizeLinear":
            if node.input[0] in self.constants:
                self._weights(node)
            else:
                self._pair(node)
        elif not self._quantizes(node):
            node = onnx.NodeProto.FromString(node.SerializeToString())
            names = [self._names.get(name, name) for name in node.input]
            del node.input[:]
            node.input.extend(names)
            self.nodes.append(node)

    def model(self) -> onnx.ModelProto:
        """The float network."""
        graph = self.source.graph
        read = {name for node in self.nodes for name in node.input}
        constants = [tensor for name, tensor in self.constants.items() if name in read]
        made = helper.make_graph(self.nodes, graph.name, graph.input, graph.output, constants)
        result = helper.make_model(
            made, opset_imports=self.source.opset_import, ir_version=self.source.ir_version, producer_name="eq_tvm"
        )
        onnx.checker.check_model(result)
        return result

    def _array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def _constant(self, name: str, values: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def _quantizes(self, node: onnx.NodeProto) -> bool:
        """Whether it gives integers that are dequantized."""
        quantize = self._producers.get(node.input[0]) if node.op_type == "Clip" else node
        return quantize is not None and quantize.op_type == "QuantizeLinear"

    def _weights(self, node: onnx.NodeProto) -> None:
        integers, scale = (self._array(name) for name in node.input[:2])
        along = [-1 if i == attributes_of(node).get("axis", 1) else 1 for i in range(integers.ndim)]
        steps = scale.reshape(along if scale.size > 1 else ())
        name = self._constant(node.output[0], integers.astype(np.float32) * steps)
        if integers.dtype == np.int8:
            self.params.append(_encoding(name, scale.reshape(-1), -127, 127))

    def _pair(self, node: onnx.NodeProto) -> None:
        """The tensor that is quantized, or a copy of it where others read it, too."""
        last = self._producers.get(node.input[0])
        if last is None:
            raise UserError(f"the input {node.input[0]!r} is integers, for which AIMET has no encoding: export .onnx")
        quantize = self._producers[last.input[0]] if last.op_type == "Clip" else last
        scale, zero = self._array(node.input[1]), self._array(node.input[2])
        if scale.size != 1:
            raise UserError(f"{node.name} has a scale for each channel of activations: AIMET has none; export .onnx")
        info, zero_point = np.iinfo(zero.dtype), int(zero.item())
        ends = [self._array(name).item() for name in last.input[1:]] if last is not quantize else [info.min, info.max]
        low, high = (int(end) - zero_point for end in ends)
        data = quantize.input[0]
        if low >= 0:
            self._positive.add(node.output[0])
        name = node.output[0]
        if (bound := self._bound(data, name, scale, low, high)) is not None:
            self.nodes.append(bound)
        elif self._readers[data] > 1:
            self.nodes.append(helper.make_node("Identity", [self._name(data)], [name], name=name))
        else:
            self._names[name] = self._name(data)
            name = self._names[name]
        self.activations.append(_encoding(name, scale.reshape(-1), low, high))

    def _name(self, tensor: str) -> str:
        return self._names.get(tensor, tensor)

    def _bound(self, data: str, name: str, scale: np.ndarray, low: int, high: int) -> onnx.NodeProto | None:
        """The clip that a relu and integers of fewer bits amount to, where there is one."""
        least, greatest = _window(low, high)
        saturates = low == 0 and not self._is_positive(data)
        if not saturates and (high == greatest or (least, greatest) == (low, high)):
            return None
        ends = [
            self._constant(f"{name}_{which}", np.array(end * scale.item(), np.float32))
            for which, end in (("low", low), ("high", high))
        ]
        return helper.make_node("Clip", [self._name(data), *ends], [name], name=name)

    def _is_positive(self, data: str) -> bool:
        """Whether it is known to have no negative numbers."""
        producer = self._producers.get(data)
        if data in self._positive or producer is None or producer.op_type in _NEVER_NEGATIVE:
            return True  # of an input: what it has is the caller's
        operands = [name for name in producer.input if name not in self.constants]
        return producer.op_type in _KEEPS_SIGN and all(map(self._is_positive, operands))


_NEVER_NEGATIVE = {"Relu", "Sigmoid", "Softmax"}
_KEEPS_SIGN = {"AveragePool", "Concat", "GlobalAveragePool", "MaxPool", "Reshape", "Resize", "Slice", "Transpose"}


def _window(low: int, high: int) -> tuple[int, int]:
    """The integers that an encoding has of which [low, high] are used: as few bits as runtimes have."""
    bits = _bits(low, high)
    least = -(2 ** (bits - 1)) if low == -high else low
    return least, least + 2**bits - 1


def _bits(low: int, high: int) -> int:
    return 8 if high - low < 2**8 else 16


def _encoding(name: str, scale: np.ndarray, low: int, high: int) -> dict[str, Any]:
    return {
        "name": name,
        "enc_type": "PER_CHANNEL" if scale.size > 1 else "PER_TENSOR",
        "dtype": "INT",
        "bw": _bits(low, high),
        "is_sym": low == -high,
        "scale": [float(value) for value in scale],
        "offset": [_window(low, high)[0]] * scale.size,
    }
