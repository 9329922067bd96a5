"""Where windows of convolutions and poolings lie."""

from __future__ import annotations

from collections.abc import Sequence

from eq_tvm.importer.tflite.call import Call

_SAME = 0  # of Padding; the other one is VALID


def explicit_padding(
    call: Call, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int] = (1, 1)
) -> list[int]:
    """ONNX's ``pads`` of what an operator says of padding, for an input of the given height and width."""
    if call.option("Padding") != _SAME:
        return [0] * (2 * len(sizes))
    before, after = [], []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        count = -(-size // stride)
        total = max((count - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return [*before, *after]
