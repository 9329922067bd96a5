"""The networks that are timed, as ONNX files with fixed random weights.

Their layers are those of torchvision's resnet18, resnet50, vgg16, mobilenet_v2, squeezenet1_1 and mobilenet_v3_large,
of EfficientNet-Lite0 (without squeeze-and-excitation, with ReLU6), and of DeiT-Tiny and DeiT-Small, for one 224x224
image and 1000 classes. Batch norms are folded already: each convolution has a bias, as an initializer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from peers.transformers import deit

IMAGE = (1, 3, 224, 224)
OPSET = 17


def write(name: str, path: Path, batch: int = 1) -> None:
    """Write one of `NETWORKS` to an ONNX file, for so many images at a time (one, of `TRANSFORMERS`)."""
    graph = Graph()
    output = NETWORKS[name](graph)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, (batch, *IMAGE[1:]))],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, (batch, 1000))],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    onnx.save(onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True), temporary)
    temporary.replace(path)


class Graph:
    """Nodes and weights so far. Each method adds a layer and returns the name of its output.

    Weights keep the size of the activations: their second moment is the same after each ReLU, and after each layer
    without one.
    """

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.channels = {"input": IMAGE[1]}
        self.random = np.random.default_rng(0)

    def conv(
        self,
        x: str,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        activation: str | None = "Relu",
        gain: float = 1.0,
    ) -> str:
        """By default with the padding that keeps the image's size at stride 1; `gain` scales the weights."""
        padding = kernel // 2 if padding is None else padding
        y = self.op(
            "Conv",
            [x, *self._weights((channels, self.channels[x] // groups, kernel, kernel), activation, gain)],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
            group=groups,
        )
        self.channels[y] = channels
        return self._activation(y, activation)

    def dense(self, x: str, inputs: int, outputs: int, activation: str | None = None) -> str:
        weights = self._weights((outputs, inputs), activation, 1.0)
        return self._activation(self.op("Gemm", [x, *weights], transB=1), activation)

    def max_pool(self, x: str, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> str:
        return self.op(
            "MaxPool", [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4, ceil_mode=int(ceil)
        )

    def mean(self, x: str) -> str:
        return self.op("GlobalAveragePool", [x])

    def flatten(self, x: str) -> str:
        return self.op("Flatten", [x], axis=1)

    def add(self, x: str, y: str) -> str:
        return self.op("Add", [x, y])

    def relu(self, x: str) -> str:
        return self.op("Relu", [x])

    def squeeze_and_excite(self, x: str) -> str:
        """Scale channels, by half on average, by what two layers make of their means."""
        squeezed = max(8, int(self.channels[x] / 4 + 4) // 8 * 8)
        scale = self.conv(self.conv(self.mean(x), squeezed, 1), self.channels[x], 1, activation=None)
        return self.op("Mul", [x, self.op("HardSigmoid", [scale], alpha=1 / 6)])

    def concat(self, *parts: str) -> str:
        y = self.op("Concat", parts, axis=1)
        self.channels[y] = sum(self.channels[part] for part in parts)
        return y

    def _activation(self, x: str, kind: str | None) -> str:
        if kind == "Clip":
            return self.op("Clip", [x, self._constant("zero", 0.0), self._constant("six", 6.0)])
        return x if kind is None else self.op(kind, [x])

    def _weights(self, shape: tuple[int, ...], activation: str | None, gain: float) -> list[str]:
        deviation = gain * np.sqrt((1 if activation is None else 2) / np.prod(shape[1:]))
        weight = self.random.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
        bias = self.random.standard_normal(shape[0], dtype=np.float32) * np.float32(0.05)
        name = f"layer{len(self.initializers) // 2}"
        return [self.initializer(f"{name}.weight", weight), self.initializer(f"{name}.bias", bias)]

    def _constant(self, name: str, value: float) -> str:
        if any(tensor.name == name for tensor in self.initializers):
            return name
        return self.initializer(name, np.array(value, np.float32))

    def initializer(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def op(self, kind: str, inputs: Sequence[str], **attributes) -> str:
        output = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        if inputs[0] in self.channels:
            self.channels[output] = self.channels[inputs[0]]
        return output


# What a residual branch adds, relative to what it is added to.
_BRANCH = 0.3
# The weights before a hard swish: it leaves 0.33 of the second moment, where ReLU leaves a half.
_HARD_SWISH = 1.23


def _resnet(g: Graph, blocks: Sequence[int], block: Callable[[Graph, str, int, int], str]) -> str:
    x = g.max_pool(g.conv("input", 64, 7, stride=2), 3, 2, 1)
    for stage, count in enumerate(blocks):
        for i in range(count):
            x = block(g, x, 64 << stage, 2 if stage > 0 and i == 0 else 1)
    return g.dense(g.flatten(g.mean(x)), g.channels[x], 1000)


def _basic_block(g: Graph, x: str, width: int, stride: int) -> str:
    y = g.conv(g.conv(x, width, 3, stride=stride), width, 3, activation=None, gain=_BRANCH)
    return g.relu(g.add(y, _shortcut(g, x, width, stride)))


def _bottleneck(g: Graph, x: str, width: int, stride: int) -> str:
    y = g.conv(g.conv(x, width, 1), width, 3, stride=stride)
    y = g.conv(y, 4 * width, 1, activation=None, gain=_BRANCH)
    return g.relu(g.add(y, _shortcut(g, x, 4 * width, stride)))


def _shortcut(g: Graph, x: str, channels: int, stride: int) -> str:
    if g.channels[x] == channels and stride == 1:
        return x
    return g.conv(x, channels, 1, stride=stride, activation=None, gain=2**0.5)


def _vgg16(g: Graph) -> str:
    x = "input"
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = g.conv(x, width, 3)
        x = g.max_pool(x, 2, 2)
    x = g.dense(g.flatten(x), 512 * 7 * 7, 4096, "Relu")
    return g.dense(g.dense(x, 4096, 4096, "Relu"), 4096, 1000)


def _mobilenet_v2(g: Graph) -> str:
    x = g.conv("input", 32, 3, stride=2, activation="Clip")
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, channels, count, stride in stages:
        for i in range(count):
            x = _inverted_residual(g, x, expansion, channels, stride if i == 0 else 1)
    x = g.conv(x, 1280, 1, activation="Clip")
    return g.dense(g.flatten(g.mean(x)), 1280, 1000)


def _inverted_residual(g: Graph, x: str, expansion: int, channels: int, stride: int, kernel: int = 3) -> str:
    residual = stride == 1 and g.channels[x] == channels
    width = expansion * g.channels[x]
    y = x if expansion == 1 else g.conv(x, width, 1, activation="Clip")
    y = g.conv(y, width, kernel, stride=stride, groups=width, activation="Clip")
    y = g.conv(y, channels, 1, activation=None, gain=_BRANCH if residual else 1.0)
    return g.add(x, y) if residual else y


def _mobilenet_v3(g: Graph) -> str:
    x = g.conv("input", 16, 3, stride=2, activation="HardSwish", gain=_HARD_SWISH)
    for kernel, width, channels, excited, activation, stride in (
        (3, 16, 16, False, "Relu", 1),
        (3, 64, 24, False, "Relu", 2),
        (3, 72, 24, False, "Relu", 1),
        (5, 72, 40, True, "Relu", 2),
        (5, 120, 40, True, "Relu", 1),
        (5, 120, 40, True, "Relu", 1),
        (3, 240, 80, False, "HardSwish", 2),
        (3, 200, 80, False, "HardSwish", 1),
        (3, 184, 80, False, "HardSwish", 1),
        (3, 184, 80, False, "HardSwish", 1),
        (3, 480, 112, True, "HardSwish", 1),
        (3, 672, 112, True, "HardSwish", 1),
        (5, 672, 160, True, "HardSwish", 2),
        (5, 960, 160, True, "HardSwish", 1),
        (5, 960, 160, True, "HardSwish", 1),
    ):
        residual = stride == 1 and g.channels[x] == channels
        gain = _HARD_SWISH if activation == "HardSwish" else 1.0
        y = x if g.channels[x] == width else g.conv(x, width, 1, activation=activation, gain=gain)
        y = g.conv(y, width, kernel, stride=stride, groups=width, activation=activation, gain=gain)
        if excited:
            y = g.squeeze_and_excite(y)
        y = g.conv(y, channels, 1, activation=None, gain=(2 if excited else 1) * (_BRANCH if residual else 1.0))
        x = g.add(x, y) if residual else y
    x = g.conv(x, 960, 1, activation="HardSwish", gain=_HARD_SWISH)
    return g.dense(g.dense(g.flatten(g.mean(x)), 960, 1280, "HardSwish"), 1280, 1000)


def _efficientnet_lite0(g: Graph) -> str:
    x = g.conv("input", 32, 3, stride=2, activation="Clip")
    for count, kernel, stride, expansion, channels in (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ):
        for i in range(count):
            x = _inverted_residual(g, x, expansion, channels, stride if i == 0 else 1, kernel)
    x = g.conv(x, 1280, 1, activation="Clip")
    return g.dense(g.flatten(g.mean(x)), 1280, 1000)


def _squeezenet1_1(g: Graph) -> str:
    x = g.max_pool(g.conv("input", 64, 3, stride=2, padding=0), 3, 2, ceil=True)
    for stage in (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256))):
        if g.channels[x] != 64:
            x = g.max_pool(x, 3, 2, ceil=True)
        for squeezed, expanded in stage:
            y = g.conv(x, squeezed, 1)
            x = g.concat(g.conv(y, expanded, 1), g.conv(y, expanded, 3))
    return g.flatten(g.mean(g.conv(x, 1000, 1)))


TRANSFORMERS: dict[str, Callable[[Graph], str]] = {
    "deit_tiny": lambda g: deit(g, 192),
    "deit_small": lambda g: deit(g, 384),
}
NETWORKS: dict[str, Callable[[Graph], str]] = {
    "resnet18": lambda g: _resnet(g, (2, 2, 2, 2), _basic_block),
    "resnet50": lambda g: _resnet(g, (3, 4, 6, 3), _bottleneck),
    "vgg16": _vgg16,
    "mobilenet_v2": _mobilenet_v2,
    "squeezenet1_1": _squeezenet1_1,
    "mobilenet_v3": _mobilenet_v3,
    "efficientnet_lite0": _efficientnet_lite0,
    **TRANSFORMERS,
}
