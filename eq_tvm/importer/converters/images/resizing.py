"""Resize: ONNX's section Resize, axis by axis. Each is a matrix, or for nearest neighbors a list of indices.

What TVM does right, and what the passes know as `resize2d`, is left to TVM's importer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from eq_tvm.importer.converters.call import OnnxCall


@dataclass(frozen=True)
class _Axis:
    """One axis that is resized: from `size` to `result` elements.

    `scale` may differ from their ratio; `start` and `end` are the region of interest, as parts of the axis.
    """

    index: int
    size: int
    result: int
    scale: float
    start: float
    end: float


def resize(call: OnnxCall) -> relax.Expr | None:
    """Resize of any rank, in all its modes."""
    attributes = _DEFAULTS | call.attributes
    axes = _axes(call, attributes)
    if _is_plain(call, axes, attributes):
        return None
    value, dtype = call.inputs[0], call.dtype(0)
    outside = np.zeros([1] * len(call.shape(0)), bool)
    for axis in axes:
        positions = _positions(axis, attributes["coordinate_transformation_mode"])
        if attributes["coordinate_transformation_mode"] == "tf_crop_and_resize":
            beyond = (positions < 0) | (positions > axis.size - 1)
            outside = outside | beyond.reshape([-1 if i == axis.index else 1 for i in range(outside.ndim)])
        if attributes["mode"] == "nearest":
            value = relax.op.take(value, relax.const(_nearest(axis, positions, attributes)), axis.index, "clip")
        elif axis.result != axis.size or not np.array_equal(positions, np.arange(axis.size)):
            value = _multiply(call, value, axis.index, _weights(axis, positions, attributes))
    if outside.any():
        mask = relax.const(np.broadcast_to(outside, _result_shape(call, axes)).copy())
        filling = relax.const(np.float32(attributes["extrapolation_value"]))
        value = relax.op.where(mask, filling, call.builder.emit(relax.op.astype(value, "float32")))
    return relax.op.astype(value, dtype)


_DEFAULTS: dict[str, Any] = {
    "mode": "nearest",
    "coordinate_transformation_mode": "half_pixel",
    "nearest_mode": "round_prefer_floor",
    "cubic_coeff_a": -0.75,
    "exclude_outside": 0,
    "antialias": 0,
    "extrapolation_value": 0.0,
    "keep_aspect_ratio_policy": "stretch",
}


def _axes(call: OnnxCall, attributes: dict[str, Any]) -> list[_Axis]:
    shape = call.shape(0)
    indices = [axis % len(shape) for axis in attributes.get("axes", range(len(shape)))]
    extents = [shape[i] for i in indices]
    region, scales, sizes = (call.constant(i) for i in (1, 2, 3))
    if sizes is not None and sizes.size:
        ratios = [int(size) / extent for size, extent in zip(sizes, extents, strict=True)]
        results = [int(size) for size in sizes]
        policy = attributes["keep_aspect_ratio_policy"]
        if policy != "stretch":
            ratios = [(min if policy == "not_larger" else max)(ratios)] * len(ratios)
            results = [int(np.floor(ratio * extent + 0.5)) for ratio, extent in zip(ratios, extents, strict=True)]
    elif scales is not None and scales.size:
        ratios = [float(scale) for scale in scales]
        results = [int(np.floor(np.float32(extent) * scale)) for extent, scale in zip(extents, scales, strict=True)]
    else:
        raise ValueError("it has neither scales nor sizes")
    count = len(indices)
    has_region = region is not None and region.size == 2 * count
    bounds = region if has_region and region is not None else np.array([0.0] * count + [1.0] * count)
    rows = zip(indices, extents, results, ratios, bounds[:count], bounds[count:], strict=True)
    found = [_Axis(*(kind(x) for kind, x in zip(_KINDS, row, strict=True))) for row in rows]
    crops = attributes["coordinate_transformation_mode"] == "tf_crop_and_resize"
    return [axis for axis in found if axis.result != axis.size or axis.scale != 1 or (crops and _is_crop(axis))]


_KINDS = (int, int, int, float, float, float)


def _is_crop(axis: _Axis) -> bool:
    return (axis.start, axis.end) != (0.0, 1.0)


def _result_shape(call: OnnxCall, axes: list[_Axis]) -> list[int]:
    shape = list(call.shape(0))
    for axis in axes:
        shape[axis.index] = axis.result
    return shape


_RIGHT_IN_TVM = ("half_pixel", "asymmetric", "align_corners")


def _is_plain(call: OnnxCall, axes: list[_Axis], attributes: dict[str, Any]) -> bool:
    """Whether it is an image's height and width by their ratios, in a mode that TVM has."""
    return (
        len(call.shape(0)) == 4
        and call.dtype(0) == "float32"
        and "axes" not in call.attributes
        and all(axis.index >= 2 and axis.result > 1 for axis in axes)
        and all(abs(axis.result - axis.size * axis.scale) < 1e-4 for axis in axes)
        and attributes["mode"] in ("nearest", "linear")
        and attributes["coordinate_transformation_mode"] in _RIGHT_IN_TVM
        and attributes["keep_aspect_ratio_policy"] == "stretch"
        and not attributes["antialias"]
    )


def _positions(axis: _Axis, mode: str) -> np.ndarray:
    """Where in the original each result lies; in float32, as ONNX Runtime decides which neighbor is nearest."""
    x, scale = np.arange(axis.result, dtype=np.float32), np.float32(axis.scale)
    half, last = np.float32(0.5), np.float32(axis.size - 1)
    single = axis.result == 1
    if mode == "asymmetric":
        return x / scale
    if mode == "align_corners":
        if abs(axis.result - axis.size * axis.scale) > 1e-4:
            raise ValueError(
                f"it aligns corners by the scale {axis.scale:g}, which gives no whole number of {axis.size} elements: "
                "the standard and ONNX Runtime disagree on that; export the model with sizes instead"
            )
        return x * np.float32(0) if single else x * last / np.float32(axis.result - 1)
    if mode == "tf_crop_and_resize":
        if single:
            return np.array([0.5 * (axis.start + axis.end) * float(last)], np.float32)
        step = np.float32(axis.end - axis.start) * last / np.float32(axis.result - 1)
        return np.float32(axis.start) * last + x * step
    if mode == "pytorch_half_pixel" and single:
        return x * np.float32(0)
    if mode == "half_pixel_symmetric":
        center = np.float32(axis.size) / 2
        adjustment = np.float32(axis.result) / (scale * np.float32(axis.size))
        return center * (1 - adjustment) + (x + half) / scale - half
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (x + half) / scale - half
    raise ValueError(f"its coordinate_transformation_mode is {mode!r}, which ONNX does not define")


_ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _nearest(axis: _Axis, positions: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    return np.clip(_ROUNDINGS[attributes["nearest_mode"]](positions), 0, axis.size - 1).astype(np.int64)


def _weights(axis: _Axis, positions: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Matrix (results, size) of interpolation."""
    support, kernel = _KERNELS[attributes["mode"]]
    a = attributes["cubic_coeff_a"]
    antialias = bool(attributes["antialias"])
    stretch = max(1 / axis.scale, 1.0) if antialias else 1.0
    if attributes["mode"] == "linear" and not antialias:
        positions = np.clip(positions, 0, axis.size - 1)
    matrix = np.zeros((axis.result, axis.size))
    for row, position in enumerate(positions.astype(np.float64)):
        reach = support * stretch
        taps = np.arange(int(np.floor(position - reach)), int(np.ceil(position + reach)) + 1)
        weights = kernel((taps - position) / stretch, a)
        if attributes["exclude_outside"]:
            weights = np.where((taps >= 0) & (taps < axis.size), weights, 0)
        if attributes["exclude_outside"] or antialias:
            weights = weights / weights.sum()
        np.add.at(matrix[row], np.clip(taps, 0, axis.size - 1), weights)
    return matrix.astype(np.float32)


def _linear(distance: np.ndarray, _a: float) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


_KERNELS: dict[str, tuple[int, Callable[[np.ndarray, float], np.ndarray]]] = {
    "linear": (1, _linear),
    "cubic": (2, _cubic),
}


def _multiply(call: OnnxCall, value: relax.Expr, axis: int, matrix: np.ndarray) -> relax.Expr:
    """Along one axis."""
    value = call.builder.emit(relax.op.astype(value, "float32"))
    rank = len(value.ty.shape)
    order = [i for i in range(rank) if i != axis] + [axis]
    back = [order.index(i) for i in range(rank)]
    product = relax.op.matmul(relax.op.permute_dims(value, order), relax.const(np.ascontiguousarray(matrix.T)))
    return call.builder.emit(relax.op.permute_dims(product, back))
