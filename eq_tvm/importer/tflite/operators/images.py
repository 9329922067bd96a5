"""What resizes, pads and rearranges images."""

from __future__ import annotations

from functools import partial

import numpy as np

from eq_tvm.importer.tflite.call import Call, Converter
from eq_tvm.importer.tflite.graph import Value
from eq_tvm.importer.tflite.operators.axes import channels_first


def _resize(call: Call, mode: str) -> None:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR; by default pixels are taken at x * scale."""
    data = call.value(0, first=True)
    corners, centers = call.option("AlignCorners"), call.option("HalfPixelCenters")
    places = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
    how = {} if mode == "linear" else {"nearest_mode": "round_prefer_ceil" if corners or centers else "floor"}
    sizes = np.array([*data.shape[:2], *call.ints(1)])
    result = call.emit("Resize", data, None, None, sizes, mode=mode, coordinate_transformation_mode=places, **how)
    call.give(result, first=True, moves=mode == "nearest")


def _pad(call: Call) -> None:
    """PAD and PADV2: by zeros, or by a value."""
    first = call.is_first_of(0)
    data = call.value(0, first=first)
    value = [call.value(2)] if call.has(2) else []
    result = call.emit("Pad", data, _pads(call, first), *value, mode="constant")
    call.give(result, first=first, moves=True)


def _mirror_pad(call: Call) -> None:
    first = call.is_first_of(0)
    data, pads = call.value(0, first=first), _pads(call, first)
    if call.option("Mode") == _REFLECT:
        result = call.emit("Pad", data, pads, mode="reflect")
    else:
        result = _symmetric(call, data, pads)
    call.give(result, first=first, moves=True)


def _symmetric(call: Call, data: Value, pads: np.ndarray) -> Value:
    """With the edges themselves repeated: slices in reverse, joined."""
    rank = len(data.shape)
    for axis, (before, after) in enumerate(zip(pads[:rank], pads[rank:], strict=True)):
        size = data.shape[axis]
        parts = [data]
        if before:
            parts.insert(0, _reversed(call, data, axis, before - 1, -size - 1))
        if after:
            parts.append(_reversed(call, data, axis, size - 1, size - after - 1 if size > after else -size - 1))
        if len(parts) > 1:
            data = call.emit("Concat", *parts, axis=axis)
    return data


def _reversed(call: Call, data: Value, axis: int, start: int, end: int) -> Value:
    return call.emit("Slice", data, *(np.array([each]) for each in (start, end, axis, -1)))


def _blocks(call: Call, operator: str) -> None:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH: channels of a pixel lie block row by block row."""
    how = {"mode": "DCR"} if operator == "DepthToSpace" else {}
    result = call.emit(operator, call.value(0, first=True), blocksize=call.option("BlockSize"), **how)
    call.give(result, first=True, moves=True)


def _space_to_batch(call: Call) -> None:
    """SPACE_TO_BATCH_ND: pixels of each place in the blocks become an image of their own."""
    data, blocks, pads = call.value(0), call.ints(1), call.constant(2)
    spatial = len(blocks)
    around = [0] * (len(data.shape) - spatial - 1)
    before, after = [0, *map(int, pads[:, 0]), *around], [0, *map(int, pads[:, 1]), *around]
    data = call.emit("Pad", data, np.array([*before, *after]), mode="constant")
    batch, rest = data.shape[0], data.shape[1 + spatial :]
    split = [batch]
    for size, block in zip(data.shape[1 : 1 + spatial], blocks, strict=True):
        split += [size // block, block]
    data = call.emit("Reshape", data, np.array([*split, *rest]))
    order = [*range(2, 2 * spatial + 1, 2), 0, *range(1, 2 * spatial + 1, 2), *range(2 * spatial + 1, len(data.shape))]
    data = call.emit("Transpose", data, perm=order)
    call.give(call.emit("Reshape", data, np.array([-1, *data.shape[spatial + 1 :]])), moves=True)


def _batch_to_space(call: Call) -> None:
    """BATCH_TO_SPACE_ND: the way back."""
    data, blocks, crops = call.value(0), call.ints(1), call.constant(2)
    spatial = len(blocks)
    data = call.emit("Reshape", data, np.array([*blocks, data.shape[0] // int(np.prod(blocks)), *data.shape[1:]]))
    order = [spatial]
    for axis in range(spatial):
        order += [spatial + 1 + axis, axis]
    data = call.emit("Transpose", data, perm=[*order, *range(2 * spatial + 1, len(data.shape))])
    sizes = [data.shape[1 + 2 * axis] * data.shape[2 + 2 * axis] for axis in range(spatial)]
    data = call.emit("Reshape", data, np.array([data.shape[0], *sizes, *data.shape[2 * spatial + 1 :]]))
    ends = np.array(sizes) - crops[:, 1]
    call.give(call.emit("Slice", data, crops[:, 0].astype(np.int64), ends, np.arange(1, 1 + spatial)), moves=True)


IMAGES: dict[str, Converter] = {
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "DEPTH_TO_SPACE": partial(_blocks, operator="DepthToSpace"),
    "MIRROR_PAD": _mirror_pad,
    "PAD": _pad,
    "PADV2": _pad,
    "RESIZE_BILINEAR": partial(_resize, mode="linear"),
    "RESIZE_NEAREST_NEIGHBOR": partial(_resize, mode="nearest"),
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SPACE_TO_DEPTH": partial(_blocks, operator="SpaceToDepth"),
}
_REFLECT = 0  # of MirrorPadMode; the other one is SYMMETRIC


def _pads(call: Call, first: bool) -> np.ndarray:
    """ONNX's ``pads``, of a row for each axis."""
    pads = call.constant(1).astype(np.int64)
    return np.concatenate([np.array(channels_first(column) if first else column) for column in pads.T])
