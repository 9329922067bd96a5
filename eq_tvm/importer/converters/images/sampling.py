"""Sampling of images at computed places: AffineGrid, GridSample and RoiAlign."""

from __future__ import annotations

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall


def affine_grid(call: OnnxCall) -> relax.Expr:
    """AffineGrid: the constant grid of an image that is not moved, by the matrices."""
    size = call.constant(1)
    if size is None or size.size not in (4, 5):
        raise ValueError("its size must have 4 or 5 elements")
    extents = [int(extent) for extent in size[2:]]
    steps = [_centers(extent, bool(call.attributes.get("align_corners", 0))) for extent in extents]
    places = np.meshgrid(*steps, indexing="ij")[::-1]  # x first
    grid = np.stack([*places, np.ones(extents)], -1).reshape(-1, len(extents) + 1)
    columns = relax.op.permute_dims(call.operand(0), (0, 2, 1))
    moved = relax.op.matmul(relax.const(grid.astype(call.dtype(0))), columns)
    return relax.op.reshape(moved, (call.shape(0)[0], *extents, len(extents)))


def grid_sample(call: OnnxCall) -> relax.Expr | None:
    """GridSample that reflects at the centers of an axis of one element, where TVM divides by zero."""
    attributes, extents = call.attributes, call.shape(0)[2:]
    reflects = attributes.get("padding_mode") == "reflection" and attributes.get("align_corners", 0)
    if not reflects or 1 not in extents:
        return None
    data = call.operand(0)
    for axis, extent in enumerate(extents, 2):
        if extent == 1:  # between two of the same, all is the same
            data = call.builder.emit(relax.op.concat([data, data], axis))
    rank = len(extents)
    if rank not in _LAYOUTS:
        raise ValueError(f"it samples {rank} axes; 2 or 3 can be compiled")
    mode = attributes.get("mode", "linear").removeprefix("bi")
    if mode == "cubic" and rank == 3:
        raise ValueError("mode cubic of 3 axes can't be compiled")
    return relax.op.image.grid_sample(
        data,
        relax.op.permute_dims(call.operand(1), (0, rank + 1, *range(1, rank + 1))),
        method=_METHODS[mode],
        layout=_LAYOUTS[rank],
        padding_mode="reflection",
        align_corners=True,
    )


_LAYOUTS = {2: "NCHW", 3: "NCDHW"}
_METHODS = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


def _centers(extent: int, align_corners: bool) -> np.ndarray:
    """Centers of the elements, of an axis from -1 to 1."""
    if align_corners:
        return np.linspace(-1, 1, extent) if extent > 1 else np.ones(1)  # as ONNX Runtime; the standard divides by 0
    return (2 * np.arange(extent) + 1) / extent - 1
