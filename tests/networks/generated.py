"""Small networks of the kinds that people bring, as ONNX files with seeded weights.

Weights are scaled by what they add up (He et al., 2015), so that signals neither vanish nor blow up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def write(name: str, path: Path) -> Path:
    """Write one of `NETWORKS`. Its input is called x, its output y."""
    shape, build = NETWORKS[name]
    net = Net(shape)
    net.node("Identity", build(net, "x"), output="y")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", shape), ("y", None))
    ]
    graph = helper.make_graph(net.nodes, name, values[:1], values[1:], net.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8), path)
    return path


class Net:
    """Nodes and weights so far. Methods take names of tensors and return that of the result."""

    def __init__(self, shape: tuple[int, ...]):
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels = {"x": shape[1]}
        self._random = np.random.default_rng(0)

    def node(self, kind: str, *inputs: str | np.ndarray, output: str = "", outputs: int = 1, **attributes):
        """Any operator; arrays become initializers. Its name, or names; it has as many channels as its first input."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        made = [output or f"{kind}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, **attributes))
        for each in made:
            self.channels[each] = self.channels.get(names[0], 0)
        return made[0] if outputs == 1 else made

    def constant(self, value) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def random(self, *shape: int, added: int, gain: float = 2.0) -> np.ndarray:
        """Weights of which a result adds up so many; `gain` 2 makes up for what relu cuts off, 1 is for none."""
        return (np.sqrt(gain / added) * self._random.standard_normal(shape)).astype("float32")

    def conv(self, x, channels, kernel=1, *, stride=1, groups=1, act="Relu", gain=2.0, spatial=2):
        """With a bias, padding that keeps the size at stride 1, and an activation of `ACTIVATIONS`."""
        inputs = self.channels[x] // groups
        weight = self.random(channels, inputs, *[kernel] * spatial, added=inputs * kernel**spatial, gain=gain)
        bias = 0.1 * self.random(channels, added=1)
        y = self.node(
            "Conv", x, weight, bias, strides=[stride] * spatial, pads=[kernel // 2] * 2 * spatial, group=groups
        )
        self.channels[y] = channels
        return self.act(y, act)

    def depthwise(self, x, kernel=3, **options):
        return self.conv(x, self.channels[x], kernel, groups=self.channels[x], **options)

    def transposed(self, x, channels, kernel, stride, *, padding=0, act=None, gain=1.0):
        weight = self.random(
            self.channels[x], channels, kernel, kernel, added=self.channels[x] * (kernel / stride) ** 2, gain=gain
        )
        y = self.node("ConvTranspose", x, weight, strides=[stride] * 2, pads=[padding] * 4, output_padding=[0, 0])
        self.channels[y] = channels
        return self.act(y, act)

    def dense(self, x, inputs, outputs, *, act=None, gain=1.0):
        """Of the last axis, of any rank."""
        weight, bias = self.random(inputs, outputs, added=inputs, gain=gain), 0.1 * self.random(outputs, added=1)
        return self.act(self.node("Add", self.node("MatMul", x, weight), bias), act)

    def act(self, x, kind):
        return ACTIVATIONS[kind](self, x) if kind else x

    def classes(self, x, count=10):
        """The end of classifiers."""
        pooled = self.node("Flatten", self.node("GlobalAveragePool", x))
        weight = self.random(count, self.channels[x], added=self.channels[x], gain=1.0)
        return self.node("Gemm", pooled, weight, 0.1 * self.random(count, added=1), transB=1)

    def concat(self, *parts, axis=1):
        y = self.node("Concat", *parts, axis=axis)
        self.channels[y] = sum(self.channels[part] for part in parts)
        return y

    def reshape(self, x, *shape):
        return self.node("Reshape", x, np.int64(shape))

    def norm(self, x, size):
        """Layer normalization of the last axis."""
        return self.node("LayerNormalization", x, 1 + 0.1 * self.random(size, added=2), self.random(size, added=100))

    def squeeze_excite(self, x, gate):
        y = self.conv(self.node("GlobalAveragePool", x), 8)
        return self.node("Mul", x, self.conv(y, self.channels[x], act=gate, gain=1.0))


ACTIVATIONS = {
    "Relu": lambda net, x: net.node("Relu", x),
    "Sigmoid": lambda net, x: net.node("Sigmoid", x),
    "HardSigmoid": lambda net, x: net.node("HardSigmoid", x, alpha=1 / 6),
    "HardSwish": lambda net, x: net.node("HardSwish", x),
    "Relu6": lambda net, x: net.node("Clip", x, np.float32(0), np.float32(6)),
    "PRelu": lambda net, x: net.node("PRelu", x, np.float32(np.linspace(0.1, 0.4, net.channels[x]))[:, None, None]),
    "Silu": lambda net, x: net.node("Mul", x, net.node("Sigmoid", x)),
    "Gelu": lambda net, x: net.node(
        "Mul",
        net.node("Mul", x, np.float32(0.5)),
        net.node("Add", net.node("Erf", net.node("Div", x, np.float32(2**0.5))), np.float32(1)),
    ),
}


def _inverted_residual(net, x, expanded, channels, kernel, stride, act, gate=None):
    y = net.depthwise(net.conv(x, expanded, act=act), kernel, stride=stride, act=act)
    y = net.squeeze_excite(y, gate) if gate else y
    residual = stride == 1 and net.channels[x] == channels
    y = net.conv(y, channels, act=None, gain=0.5 if residual else 1.0)
    return net.node("Add", x, y) if residual else y


def _mobilenet_v3(net, x):
    x = net.conv(x, 8, 3, stride=2, act="HardSwish")
    x = _inverted_residual(net, x, 16, 8, 5, 1, "HardSwish", "HardSigmoid")
    return net.classes(_inverted_residual(net, x, 24, 16, 3, 2, "Relu", "HardSigmoid"))


def _efficientnet_lite(net, x):
    x = net.conv(x, 8, 3, stride=2, act="Relu6")
    x = _inverted_residual(net, x, 24, 8, 5, 1, "Relu6")
    return net.classes(_inverted_residual(net, x, 24, 16, 3, 2, "Relu6"))


def _shuffle(net, x, size):
    channels = net.channels[x]
    y = net.node("Transpose", net.reshape(x, 1, 2, channels // 2, size, size), perm=[0, 2, 1, 3, 4])
    y = net.reshape(y, 1, channels, size, size)
    net.channels[y] = channels
    return y


def _shufflenet_v2(net, x):
    x = net.conv(x, 16, 3, stride=2)
    left = net.conv(net.depthwise(x, stride=2, act=None, gain=1.0), 16)
    right = net.conv(net.depthwise(net.conv(x, 16), stride=2, act=None, gain=1.0), 16)
    x = _shuffle(net, net.concat(left, right), 8)
    left, right = net.node("Split", x, np.int64([16, 16]), outputs=2, axis=1)
    net.channels[left] = net.channels[right] = 16
    right = net.conv(net.depthwise(net.conv(right, 16), act=None, gain=1.0), 16)
    return net.classes(net.conv(_shuffle(net, net.concat(left, right), 8), 32))


def _yolo(net, x):
    """Two maps; boxes by the expected distance to each side (DFL), in pixels, and scores behind them."""
    bins, classes, size = 8, 3, 32
    x = net.conv(net.conv(x, 8, 3, stride=2, act="Silu"), 16, 3, stride=2, act="Silu")
    left, right = net.node("Split", x, np.int64([8, 8]), outputs=2, axis=1)
    net.channels[left] = net.channels[right] = 8
    fine = net.conv(net.concat(left, right, net.conv(right, 8, 3, act="Silu")), 16, act="Silu")
    coarse = net.conv(fine, 16, 3, stride=2, act="Silu")
    pooled = net.node("MaxPool", coarse, kernel_shape=[5, 5], pads=[2] * 4)
    coarse = net.conv(net.concat(coarse, pooled), 16, act="Silu")
    larger = net.node(
        "Resize",
        coarse,
        "",
        np.float32([1, 1, 2, 2]),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    fine = net.conv(net.concat(fine, larger), 16, act="Silu")
    parts, places, strides = [], [], []
    for stride, feature in ((4, fine), (8, coarse)):
        sides = net.conv(net.conv(feature, 16, 3, act="Silu"), 4 * bins, act=None, gain=4.0)
        scores = net.conv(net.conv(feature, 16, 3, act="Silu"), classes, act=None, gain=4.0)
        parts.append(net.reshape(net.concat(sides, scores), 1, 4 * bins + classes, -1))
        y, x = np.mgrid[: size // stride, : size // stride] + 0.5
        places.append(np.stack([x.ravel(), y.ravel()]))
        strides.append(np.full((1, x.size), stride))
    both, places, strides = net.node("Concat", *parts, axis=2), np.hstack(places), np.hstack(strides)
    sides, scores = net.node("Split", both, np.int64([4 * bins, classes]), outputs=2, axis=1)
    odds = net.node("Transpose", net.reshape(sides, 1, 4, bins, -1), perm=[0, 2, 1, 3])
    weight = np.arange(bins, dtype="float32")[None, :, None, None]
    distances = net.reshape(net.node("Conv", net.node("Softmax", odds, axis=1), weight), 1, 4, -1)
    low, high = net.node("Split", distances, np.int64([2, 2]), outputs=2, axis=1)
    low = net.node("Sub", places[None].astype("float32"), low)
    high = net.node("Add", places[None].astype("float32"), high)
    middle = net.node("Div", net.node("Add", low, high), np.float32(2))
    boxes = net.node("Concat", middle, net.node("Sub", high, low), axis=1)
    boxes = net.node("Mul", boxes, strides[None].astype("float32"))
    return net.node("Concat", boxes, net.node("Sigmoid", scores), axis=1)


def _unet(net, x):
    skips = []
    for channels in (8, 16):
        x = net.conv(x, channels, 3)
        skips.append(x)
        x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.conv(x, 32, 3)
    for skip in reversed(skips):
        x = net.conv(net.concat(skip, net.transposed(x, net.channels[skip], 2, 2)), net.channels[skip], 3)
    return net.conv(x, 2, act="Sigmoid", gain=4.0)


def _fsrcnn(net, x):
    x = net.conv(net.conv(x, 24, 5, act="PRelu"), 8, act="PRelu")
    return net.transposed(net.conv(net.conv(x, 8, 3, act="PRelu"), 24, act="PRelu"), 1, 9, 3, padding=4)


def _espcn(net, x):
    x = net.conv(net.conv(net.conv(x, 32, 5), 16, 3), 12, 3, act=None, gain=1.0)
    return net.node("DepthToSpace", x, blocksize=2)


def _convnext(net, x):
    x = net.node("Conv", x, net.random(16, 3, 4, 4, added=48, gain=1.0), strides=[4, 4])
    net.channels[x] = 16
    for _ in range(2):
        y = net.node("Transpose", net.depthwise(x, 7, act=None, gain=1.0), perm=[0, 2, 3, 1])
        y = net.dense(net.dense(net.norm(y, 16), 16, 64, act="Gelu", gain=2.0), 64, 16)
        y = net.node("Mul", y, np.full(16, 0.5, "float32"))
        x = net.node("Add", x, net.node("Transpose", y, perm=[0, 3, 1, 2]))
    return net.classes(x)


def _resnet_1d(net, x):
    x = net.conv(x, 16, 7, stride=2, spatial=1)
    x = net.node("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1])
    for channels, stride in ((16, 1), (32, 2)):
        y = net.conv(x, channels, 3, stride=stride, spatial=1)
        y = net.conv(y, channels, 3, act=None, gain=0.5, spatial=1)
        same = stride == 1
        x = net.act(net.node("Add", y, x if same else net.conv(x, channels, stride=2, act=None, spatial=1)), "Relu")
    return net.classes(x)


def _tokens(net, x):
    """Of 4x4 pixels each: (1, 64, 32)."""
    x = net.node("Conv", x, net.random(32, 3, 4, 4, added=48, gain=1.0), strides=[4, 4])
    return net.node("Transpose", net.reshape(x, 1, 32, 64), perm=[0, 2, 1])


def _mixer(net, x):
    x = _tokens(net, x)
    y = net.node("Transpose", net.norm(x, 32), perm=[0, 2, 1])
    y = net.dense(net.dense(y, 64, 32, act="Gelu", gain=2.0), 32, 64)
    x = net.node("Add", x, net.node("Transpose", y, perm=[0, 2, 1]))
    x = net.node("Add", x, net.dense(net.dense(net.norm(x, 32), 32, 64, act="Gelu", gain=2.0), 64, 32))
    return net.dense(net.node("ReduceMean", net.norm(x, 32), axes=[1], keepdims=0), 32, 10)


def _attention(net, x):
    x, heads, size = _tokens(net, x), 2, 16
    y = net.reshape(net.dense(net.norm(x, 32), 32, 96), 1, 64, 3, heads, size)
    queries, keys, values = (
        net.reshape(part, 1, heads, 64, size)
        for part in net.node("Split", net.node("Transpose", y, perm=[2, 0, 3, 1, 4]), outputs=3, axis=0)
    )
    keys = net.node("Transpose", keys, perm=[0, 1, 3, 2])
    scores = net.node("Mul", net.node("MatMul", queries, keys), np.float32(size**-0.5))
    y = net.node("MatMul", net.node("Softmax", scores, axis=-1), values)
    y = net.reshape(net.node("Transpose", y, perm=[0, 2, 1, 3]), 1, 64, 32)
    x = net.node("Add", x, net.dense(y, 32, 32))
    x = net.node("Add", x, net.dense(net.dense(net.norm(x, 32), 32, 64, act="Gelu", gain=2.0), 64, 32))
    return net.dense(net.node("ReduceMean", net.norm(x, 32), axes=[1], keepdims=0), 32, 10)


_IMAGE = (1, 3, 32, 32)
# By name the input's shape, and what builds the network on it.
NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[Net, str], str]]] = {
    "mobilenet_v3": (_IMAGE, _mobilenet_v3),
    "efficientnet_lite": (_IMAGE, _efficientnet_lite),
    "shufflenet_v2": (_IMAGE, _shufflenet_v2),
    "yolo": (_IMAGE, _yolo),
    "unet": (_IMAGE, _unet),
    "fsrcnn": ((1, 1, 16, 16), _fsrcnn),
    "espcn": ((1, 3, 16, 16), _espcn),
    "convnext": (_IMAGE, _convnext),
    "resnet_1d": ((1, 2, 256), _resnet_1d),
    "mixer": (_IMAGE, _mixer),
    "attention": (_IMAGE, _attention),
}
