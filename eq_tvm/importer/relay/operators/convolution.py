"""Convolutions, in any layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from eq_tvm.importer.relay.layouts import Axis, convert_layout, parse_layout
from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value

_SPACE = {1: "W", 2: "HW", 3: "DHW"}
_EXACT = 1 << 24  # integers up to here are exact in float32


class Convolution:
    """What a convolution's attributes say, with its operands as ONNX takes them.

    Attributes
    ----------
    data, weight : Value
        Of channels first: NCHW, OIHW; of a transposed one IOHW.
    attributes : dict
        ONNX's.
    axis : int
        The channels' in the result.
    """

    def __init__(self, operation: Operation, rank: int, *, transposed: bool = False) -> None:
        space = _SPACE[rank]
        self.operation, self.transposed = operation, transposed
        layout = operation.get("data_layout", "NC" + space)
        self.plain, self.layout = "NC" + space, operation.get("out_layout", "") or layout
        order = "IO" if transposed else "OI"
        kernel_layout = operation.get("kernel_layout", order + space)
        self.data = convert_layout(operation, operation.value(0), layout, self.plain)
        self.groups = int(operation.get("groups", 1))
        weight = operation.value(1)
        if transposed and kernel_layout == "OI" + space and self._mislabelled(weight):
            kernel_layout = order + space
        self.weight = convert_layout(operation, weight, kernel_layout, order + space)
        if not transposed:
            self._join_multiplier()
        self.channels = self.weight.shape[1] * self.groups if transposed else self.weight.shape[0]
        self.axis = parse_layout(self.layout).index(Axis("C", 0))
        kernel = list(self.weight.shape[2:])
        if (given := operation.attrs.get("kernel_size")) and operation.ints("kernel_size") != kernel:
            raise ValueError(f"its kernel_size is {given}, and its weights' is {kernel}")
        self.attributes: dict[str, Any] = {
            "kernel_shape": kernel,
            "strides": operation.ints("strides", [1] * rank),
            "dilations": operation.ints("dilation", [1] * rank),
            "pads": pads(operation.ints("padding", [0] * rank), rank),
            "group": self.groups,
        }
        if transposed:
            self.attributes["output_padding"] = operation.ints("output_padding", [0] * rank)

    def _mislabelled(self, weight: Value) -> bool:
        """Until TVM 0.9, IOHW was called OIHW."""
        version = [int(part) for part in self.operation.version.split(".")[:2] if part.isdigit()]
        first, second = weight.shape[0], weight.shape[1]
        inputs = self.data.shape[1]
        return first == inputs and (second * self.groups != inputs or (bool(version) and version < [0, 10]))

    def _join_multiplier(self) -> None:
        """Of depthwise ones, weights (C, M, ...) are those of C * M channels."""
        shape, channels = self.weight.shape, self.data.shape[1]
        if self.groups == channels and shape[0] == channels and shape[1] > 1:
            self.weight = self.operation.reshape(self.weight, [shape[0] * shape[1], 1, *shape[2:]])

    def written(self, data: Value, weight: Value, bias: Value | None = None) -> Value:
        """The convolution of what stands for its operands, in the layout of its result."""
        operator = "ConvTranspose" if self.transposed else "Conv"
        operands = [data, weight] if bias is None else [data, weight, bias]
        result = self.operation.emit(operator, operands, **self.attributes)
        return convert_layout(self.operation, result, self.plain, self.layout)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result, in its layout."""
        space = []
        attributes = self.attributes
        for i, (size, kernel) in enumerate(zip(self.data.shape[2:], attributes["kernel_shape"], strict=True)):
            begin, end = attributes["pads"][i], attributes["pads"][i + len(attributes["strides"])]
            stride, window = attributes["strides"][i], attributes["dilations"][i] * (kernel - 1) + 1
            if self.transposed:
                space.append(stride * (size - 1) + attributes["output_padding"][i] + window - begin - end)
            else:
                space.append((size + begin + end - window) // stride + 1)
        sizes = dict(zip(self.plain, (self.data.shape[0], self.channels, *space), strict=True))
        return tuple(sizes[axis.letter] for axis in parse_layout(self.layout))


def pads(padding: list[int], rank: int) -> list[int]:
    """ONNX's pads, from one number for all, one for each axis, or begins and ends.

    Raises
    ------
    ValueError
        Any other number of numbers.
    """
    repeats = {1: 2 * rank, rank: 2, 2 * rank: 1}.get(len(padding))
    if repeats is None:
        raise ValueError(f"its padding {padding} does not fit {rank} axes")
    return padding * repeats


def _convolution(rank: int, *, transposed: bool = False) -> Rule:
    def rule(operation: Operation) -> Value:
        layer = Convolution(operation, rank, transposed=transposed)
        if not layer.data.dtype.startswith("float"):
            return _of_integers(operation, layer)
        dtype = operation.get("out_dtype", "") or layer.data.dtype
        return layer.written(operation.cast(layer.data, dtype), operation.cast(layer.weight, dtype))

    return rule


def _of_integers(operation: Operation, layer: Convolution) -> Value:
    """In float32, where that is exact: not all runtimes have ConvInteger of every pair of dtypes."""
    if {layer.data.dtype, layer.weight.dtype} - {"int8", "uint8"}:
        raise ValueError(f"it convolves {layer.data.dtype} of no known scale; save the module before it is quantized")
    if _is_exact(layer):
        real = layer.written(operation.cast(layer.data, "float32"), operation.cast(layer.weight, "float32"))
        return operation.cast(real, operation.get("out_dtype", "") or layer.data.dtype)
    if layer.transposed:
        raise ValueError("its sums of integers do not fit float32; save the module before it is quantized")
    result = operation.emit("ConvInteger", [layer.data, layer.weight], **layer.attributes)
    return operation.cast(
        convert_layout(operation, result, layer.plain, layer.layout), operation.get("out_dtype", "") or layer.data.dtype
    )


def _is_exact(layer: Convolution) -> bool:
    weights = layer.weight.array
    if weights is None:
        return False
    axes = tuple(axis for axis in range(weights.ndim) if axis != (1 if layer.transposed else 0))
    return bool(np.abs(weights.astype(np.int64)).sum(axes).max(initial=0) * 255 < _EXACT)


RULES: dict[str, Rule] = {
    "nn.conv1d": _convolution(1),
    "nn.conv2d": _convolution(2),
    "nn.conv3d": _convolution(3),
    "nn.conv1d_transpose": _convolution(1, transposed=True),
    "nn.conv2d_transpose": _convolution(2, transposed=True),
    "nn.conv3d_transpose": _convolution(3, transposed=True),
    "nn.contrib_conv2d_NCHWc": _convolution(2),
    "nn.contrib_depthwise_conv2d_NCHWc": _convolution(2),
}
