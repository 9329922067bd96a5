"""Write ``auto_pad`` and ``output_shape`` as ``pads``."""

from typing import Any

import onnx
from onnx import NodeProto

from eq_tvm.importer.protobuf import attributes_of, replace_attributes, shapes_of


def make_padding_explicit(model: onnx.ModelProto) -> None:
    """Give convolutions, transposed convolutions and poolings of a static model ``pads`` in place of rules for them.

    The Relax importer puts a pad operator in front instead, gets SAME_LOWER wrong, and ignores a transposed
    convolution's ``output_shape``. The formulas are those of the ONNX operators.
    """
    shapes = shapes_of(model)
    for node in model.graph.node:
        given = attributes_of(node)
        if node.op_type in _PADS and ("auto_pad" in given or "output_shape" in given):
            kernel = given.get("kernel_shape") or shapes[node.input[1]][2:]
            ones = [1] * len(kernel)
            complete = {
                "auto_pad": b"NOTSET",
                "strides": ones,
                "dilations": ones,
                "pads": [0] * 2 * len(kernel),
                "output_padding": [0] * len(kernel),
            } | given
            pads = _PADS[node.op_type](complete, list(kernel), shapes[node.input[0]][2:])
            _set_pads(node, pads, complete["output_padding"])


def _conv_pads(given: dict[str, Any], kernel: list[int], data: list[int]) -> list[int]:
    mode = given["auto_pad"]
    if mode == b"NOTSET":
        return list(given["pads"])
    if mode == b"VALID":
        return [0] * 2 * len(kernel)
    totals = [
        max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        for size, k, stride, dilation in zip(data, kernel, given["strides"], given["dilations"], strict=True)
    ]
    return _distribute(totals, smaller_first=mode == b"SAME_UPPER")


def _transposed_pads(given: dict[str, Any], kernel: list[int], data: list[int]) -> list[int]:
    mode, strides = given["auto_pad"], given["strides"]
    if mode == b"VALID" and "output_shape" not in given:
        return [0] * 2 * len(kernel)
    if mode == b"NOTSET" and "output_shape" not in given:
        return list(given["pads"])
    wanted = given.get("output_shape") or [size * stride for size, stride in zip(data, strides, strict=True)]
    totals = [
        stride * (size - 1) + extra + (k - 1) * dilation + 1 - extent
        for stride, size, extra, k, dilation, extent in zip(
            strides, data, given["output_padding"], kernel, given["dilations"], wanted[-len(kernel) :], strict=True
        )
    ]
    if "output_shape" not in given:  # what a kernel smaller than its stride leaves out stays left out
        totals = [max(total, 0) for total in totals]
    return _distribute(totals, smaller_first=mode == b"SAME_UPPER")


_PADS = {
    "Conv": _conv_pads,
    "MaxPool": _conv_pads,
    "AveragePool": _conv_pads,
    "LpPool": _conv_pads,
    "ConvTranspose": _transposed_pads,
}


def _distribute(totals: list[int], smaller_first: bool) -> list[int]:
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return small + large if smaller_first else large + small


def _set_pads(node: NodeProto, pads: list[int], output_padding: list[int]) -> None:
    """Where a transposed convolution's pads would be negative, what lacks is padding of the output."""
    ours = {"auto_pad", "pads", "output_shape", "output_padding"}
    count, added = len(pads) // 2, {"pads": [max(0, pad) for pad in pads]}
    if node.op_type == "ConvTranspose":
        missing = [max(0, -low) + max(0, -high) for low, high in zip(pads[:count], pads[count:], strict=True)]
        added["output_padding"] = [extra + more for extra, more in zip(output_padding, missing, strict=True)]
    replace_attributes(node, ours, **added)
