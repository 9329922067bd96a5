"""A float network as ncnn reads it: a text with its layers, and a file with its weights.

ncnn's own converters need PyTorch. This one knows the operators of the networks that are timed here.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

MAGIC = 7767517  # how a .param file begins


def convert(model: Path, param: Path, weights: Path) -> None:
    """Write an ONNX network as ncnn's ``.param`` and ``.bin``.

    Raises
    ------
    ValueError
        It has an operator that this converter does not know.
    """
    graph = _optimized(model).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = [_Layer("Input", [], [value.name]) for value in graph.input if value.name not in constants]
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        else:
            layers.append(_layer(node, constants))
    layers = _split(_fuse_activations(_dense_after_pool(layers)))
    blobs = sum(len(layer.outputs) for layer in layers)
    param.write_text("\n".join([str(MAGIC), f"{len(layers)} {blobs}", *(layer.text() for layer in layers), ""]))
    with weights.open("wb") as file:
        for layer in layers:
            for array in layer.weights:
                file.write(array)


@dataclass
class _Layer:
    kind: str
    inputs: list[str]
    outputs: list[str]
    params: dict[int, object] = field(default_factory=dict)
    weights: list[bytes] = field(default_factory=list)

    def text(self) -> str:
        params = (
            f"{-23300 - key}={len(value)},{','.join(map(str, value))}" if isinstance(value, list) else f"{key}={value}"
            for key, value in self.params.items()
        )
        counts = [str(len(self.inputs)), str(len(self.outputs))]
        return " ".join([self.kind, self.outputs[0], *counts, *self.inputs, *self.outputs, *params])


def _optimized(model: Path) -> onnx.ModelProto:
    """The network after ONNX Runtime's basic optimizations: batch norms folded, dead code gone."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as directory:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = f"{directory}/model.onnx"
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _layer(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> _Layer:
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    arrays = [constants.get(name) for name in node.input]
    inputs = [name for name, array in zip(node.input, arrays, strict=True) if array is None and name]
    layer = _Layer("", inputs, [node.output[0]])
    match node.op_type:
        case "Conv":
            _conv(layer, attributes, arrays[1], arrays[2] if len(arrays) > 2 else None)
        case "Gemm":
            _dense(layer, node.name, attributes, arrays[1], arrays[2] if len(arrays) > 2 else None)
        case "Relu":
            layer.kind = "ReLU"
        case "Clip":
            layer.kind, layer.params = "Clip", {0: arrays[1].item(), 1: arrays[2].item()}
        case "MaxPool" | "AveragePool":
            layer.kind, layer.params = "Pooling", {0: int(node.op_type == "AveragePool")}
            layer.params |= {5: 1 - attributes.get("ceil_mode", 0), 6: attributes.get("count_include_pad", 0)}
            layer.params |= _window(attributes, kernel=(1, 11), strides=(2, 12), pads=(3, 13, 14, 15))
        case "GlobalAveragePool":
            layer.kind, layer.params = "Pooling", {0: 1, 4: 1}
        case "Add" if len(inputs) == 2:
            layer.kind, layer.params = "BinaryOp", {0: 0}
        case "Concat" if attributes["axis"] == 1:
            layer.kind, layer.params = "Concat", {0: 0}
        case "Slice":
            _subsample(layer, *arrays[1:])
        case "Pad" if attributes.get("mode", b"constant") == b"constant" and len(arrays[1]) == 8:
            _pad(layer, arrays[1], arrays[2] if len(arrays) > 2 else None)
        case "Flatten" if attributes.get("axis", 1) == 1:
            layer.kind = "Flatten"
        case _:
            raise ValueError(f"the converter to ncnn does not know {node.op_type} {node.name}".rstrip())
    return layer


def _conv(layer: _Layer, attributes: dict, weight: np.ndarray, bias: np.ndarray | None) -> None:
    groups = attributes.get("group", 1)
    layer.kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    attributes = {"kernel_shape": weight.shape[2:]} | attributes
    layer.params = {0: weight.shape[0], 6: weight.size}
    layer.params |= _window(attributes, kernel=(1, 11), strides=(3, 13), pads=(4, 14, 15, 16))
    height, width = attributes.get("dilations", (1, 1))
    layer.params |= {2: width, 12: height} | ({7: groups} if groups > 1 else {})
    _set_weights(layer, weight, bias, bias_key=5)


def _dense(layer: _Layer, name: str, attributes: dict, weight: np.ndarray, bias: np.ndarray | None) -> None:
    if attributes.get("transA", 0) or attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1:
        raise ValueError(f"Gemm {name} is no dense layer")
    weight = weight if attributes.get("transB", 0) else weight.T
    layer.kind, layer.params = "InnerProduct", {0: weight.shape[0], 2: weight.size}
    _set_weights(layer, weight, bias, bias_key=1)


def _pad(layer: _Layer, widths: np.ndarray, value: np.ndarray | None) -> None:
    (_, front, top, left), (_, behind, bottom, right) = widths[:4].tolist(), widths[4:].tolist()
    fill = 0.0 if value is None else value.item()
    layer.kind, layer.params = "Padding", {0: top, 1: bottom, 2: left, 3: right, 5: fill, 7: front, 8: behind}


def _subsample(layer: _Layer, starts: np.ndarray, ends: np.ndarray, axes: np.ndarray, steps: np.ndarray) -> None:
    """Every so many pixels, as a pooling of single pixels: ncnn's slices have no steps."""
    if set(axes) - {2, 3} or starts.any() or ends.min() < np.iinfo(np.int32).max or steps.min() < 1:
        raise ValueError("the converter to ncnn knows slices only if they are every so many of all pixels")
    strides = dict(zip(axes.tolist(), steps.tolist(), strict=True))
    layer.kind, layer.params = "Pooling", {1: 1, 11: 1, 2: strides.get(3, 1), 12: strides.get(2, 1), 5: 1}


def _window(attributes: dict, kernel: tuple, strides: tuple, pads: tuple) -> dict[int, int]:
    """Sizes under ncnn's keys: kernel and strides as (width, height), pads as (left, top, right, bottom)."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError("the converter to ncnn does not know auto_pad")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    keys = dict(zip(pads, (left, top, right, bottom), strict=True))
    for (x, y), (height, width) in ((kernel, attributes["kernel_shape"]), (strides, attributes.get("strides", (1, 1)))):
        keys |= {x: width, y: height}
    return keys


def _set_weights(layer: _Layer, weight: np.ndarray, bias: np.ndarray | None, bias_key: int) -> None:
    layer.params[bias_key] = int(bias is not None)
    float32 = np.zeros(1, np.uint32)  # marks weights as plain float32
    layer.weights = [float32.tobytes(), np.ascontiguousarray(weight, np.float32).tobytes()]
    if bias is not None:
        layer.weights.append(bias.astype(np.float32).tobytes())


def _dense_after_pool(layers: list[_Layer]) -> list[_Layer]:
    """A global pooling leaves ncnn a vector: a convolution of that is a dense layer."""
    vectors = {layer.outputs[0] for layer in layers if layer.kind == "Pooling" and layer.params.get(4)}
    for layer in layers:
        if layer.kind == "Convolution" and layer.inputs[0] in vectors:
            channels, has_bias, size = (layer.params[key] for key in (0, 5, 6))
            layer.kind, layer.params = "InnerProduct", {0: channels, 1: has_bias, 2: size}
    return layers


def _fuse_activations(layers: list[_Layer]) -> list[_Layer]:
    """Let convolutions and dense layers apply the ReLU or clip that is all that follows them, as ncnnoptimize does."""
    uses = Counter(name for layer in layers for name in layer.inputs)
    fused: list[_Layer] = []
    makers: dict[str, _Layer] = {}
    for layer in layers:
        maker = makers.get(layer.inputs[0]) if layer.inputs else None
        if layer.kind in ("ReLU", "Clip") and maker is not None and maker.weights and uses[layer.inputs[0]] == 1:
            maker.params[9] = 1 if layer.kind == "ReLU" else 3
            if layer.kind == "Clip":
                maker.params[10] = [layer.params[0], layer.params[1]]
            maker.outputs = layer.outputs
        else:
            fused.append(layer)
            maker = layer
        makers[layer.outputs[0]] = maker
    return fused


def _split(layers: list[_Layer]) -> list[_Layer]:
    """In ncnn a blob has one reader: where there are more, a layer makes copies."""
    uses = Counter(name for layer in layers for name in layer.inputs)
    copies = {name: [f"{name}_{i}" for i in range(count)] for name, count in uses.items() if count > 1}
    unread = {name: iter(names) for name, names in copies.items()}
    result = []
    for layer in layers:
        layer.inputs = [next(unread[name]) if name in unread else name for name in layer.inputs]
        result.append(layer)
        result += [_Layer("Split", [name], copies[name]) for name in layer.outputs if name in copies]
    return result
