"""The scales in the ONNX file of a quantized network."""

from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import NodeProto, numpy_helper

from eq_tvm.errors import UserError
from eq_tvm.importer.formats import onnx_file
from eq_tvm.importer.names import node_name
from eq_tvm.importer.protobuf import attributes_of

_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_OF_INTEGERS = {"QLinearConv": 4, "QLinearMatMul": 4, "QGemm": 4}  # by where they have the scale of their weights
_MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity"}


def has_scales(path: Path) -> bool:
    """Whether activations are quantized by scales that the file has; False of what can't be read.

    What quantizes dynamically, by scales that it finds for each input, has none.
    """
    try:
        return _has_scales(onnx.load(onnx_file(path), load_external_data=False).graph)
    except (DecodeError, OSError, UserError, IndexError, ValueError):  # importing it says what is wrong
        return False


def _has_scales(graph: onnx.GraphProto) -> bool:
    constants = _constants(graph)
    quantizing, dequantizing = (
        [
            node
            for node in graph.node
            if node.op_type == kind and node.input[0] not in constants and node.input[1] in constants
        ]
        for kind in ("QuantizeLinear", "DequantizeLinear")
    )
    integers, dequantized = _behind(graph, quantizing, {*_MOVES, "Clip"}), _behind(graph, dequantizing, _MOVES)
    read = {name for node in graph.node for name in node.input}  # not its outputs alone
    return any(node.input[0] in integers and node.output[0] in read for node in dequantizing) or any(
        node.op_type in _OF_INTEGERS or (node.op_type in _LAYERS and not dequantized.isdisjoint(node.input[:1]))
        for node in graph.node
    )


def _behind(graph: onnx.GraphProto, nodes: Iterable[NodeProto], moves: Container[str]) -> set[str]:
    """What some nodes give, and what moves it."""
    found = {node.output[0] for node in nodes}
    for node in graph.node:
        if node.op_type in moves and node.input[0] in found:
            found.add(node.output[0])
    return found


def weight_scales(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """By layer, the scales (O,) or (1,) of integer weights, as the file has them."""
    graph = model.graph
    constants, producers = _constants(graph), {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        scale = _scale_of_weights(node, producers)
        if scale in constants:
            found[node_name(node)] = numpy_helper.to_array(constants[scale]).reshape(-1).astype(np.float32)
    return found


def _scale_of_weights(node: NodeProto, producers: Mapping[str, NodeProto]) -> str | None:
    if node.op_type in _OF_INTEGERS:
        return node.input[_OF_INTEGERS[node.op_type]]
    weight = producers.get(node.input[1]) if node.op_type in _LAYERS else None
    while weight is not None and weight.op_type in _MOVES:
        weight = producers.get(weight.input[0])
    return weight.input[1] if weight is not None and weight.op_type == "DequantizeLinear" else None


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and isinstance(value := attributes_of(node).get("value"), onnx.TensorProto):
            constants[node.output[0]] = value
    return constants
