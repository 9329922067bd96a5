"""Resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from eq_tvm.importer.relay.layouts import convert_layout, parse_layout
from eq_tvm.importer.relay.operation import Operation, Rule
from eq_tvm.importer.relay.values import Value

_PLAIN = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
_METHODS = {
    "nearest_neighbor": "nearest",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "cubic": "cubic",
    "bicubic": "cubic",
}
_ROUNDINGS = {
    "round": "round_prefer_ceil",  # halves go up: places are not negative
    "round_prefer_floor": "round_prefer_floor",
    "round_prefer_ceil": "round_prefer_ceil",
    "floor": "floor",
    "ceil": "ceil",
}
_PLACES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")


def _resize(rank: int) -> Rule:
    def rule(operation: Operation) -> Value:
        places = operation.get("coordinate_transformation_mode", "half_pixel")
        method = operation.get("method", "linear")
        rounding = operation.get("rounding_method", "round") or ("round" if places == "align_corners" else "floor")
        if places not in _PLACES or method not in _METHODS or rounding not in _ROUNDINGS:
            raise ValueError(f"it resizes by {places}, {method}, {rounding}, which ONNX does not have")
        attributes: dict[str, Any] = {"coordinate_transformation_mode": places, "mode": _METHODS[method]}
        if method == "nearest_neighbor":
            attributes["nearest_mode"] = _ROUNDINGS[rounding]
        if _METHODS[method] == "cubic":
            attributes["cubic_coeff_a"] = float(operation.get("cubic_alpha", operation.get("bicubic_alpha", -0.5)))
            attributes["exclude_outside"] = int(operation.get("cubic_exclude", operation.get("bicubic_exclude", 0)))
        return _resized(operation, rank, operation.ints("size"), attributes)

    return rule


def _upsampling(rank: int) -> Rule:
    def rule(operation: Operation) -> Value:
        method = operation.get("method", "nearest_neighbor")
        if method not in _METHODS:
            raise ValueError(f"it resizes by {method}, which ONNX does not have")
        if rank == 3:
            places = operation.get("coordinate_transformation_mode", "half_pixel")
            places = "asymmetric" if method == "nearest_neighbor" else places
        else:
            places = "align_corners" if operation.get("align_corners", False) else "asymmetric"
        attributes: dict[str, Any] = {"coordinate_transformation_mode": places, "mode": _METHODS[method]}
        if method == "nearest_neighbor":
            attributes["nearest_mode"] = "floor" if places == "asymmetric" else "round_prefer_ceil"
        if _METHODS[method] == "cubic":
            attributes["cubic_coeff_a"] = -0.5
        layout = operation.get("layout", _PLAIN[rank])
        sizes = {axis.letter: size for axis, size in zip(parse_layout(layout), operation.value().shape, strict=False)}
        scales = [float(operation.get(f"scale_{letter.lower()}", 1)) for letter in _PLAIN[rank][2:]]
        wanted = [round(sizes[letter] * s) for letter, s in zip(_PLAIN[rank][2:], scales, strict=True)]
        return _resized(operation, rank, wanted, attributes)

    return rule


def _resized(operation: Operation, rank: int, wanted: list[int], attributes: dict[str, Any]) -> Value:
    layout, plain = operation.get("layout", _PLAIN[rank]), _PLAIN[rank]
    data = convert_layout(operation, operation.value(), layout, plain)
    sizes = operation.constant(np.array([*data.shape[:2], *wanted], np.int64))
    result = operation.emit("Resize", [data, None, None, sizes], **attributes)
    dtype = operation.get("out_dtype", "")
    return convert_layout(operation, operation.cast(result, dtype) if dtype else result, plain, layout)


def _grid_sample(operation: Operation) -> Value:
    """Relay's grid has the coordinates along the second axis, ONNX's along the last."""
    if operation.get("layout", "NCHW") != "NCHW":
        raise ValueError(f"its layout is {operation.get('layout', '')}; only NCHW is supported")
    grid = operation.transpose(operation.value(1), [0, 2, 3, 1])
    return operation.emit(
        "GridSample",
        [operation.value(0), grid],
        mode={"nearest": "nearest", "bicubic": "bicubic"}.get(operation.get("method", "bilinear"), "bilinear"),
        padding_mode=operation.get("padding_mode", "zeros"),
        align_corners=int(operation.get("align_corners", True)),
    )


RULES: dict[str, Rule] = {
    "image.resize": _resize(2),
    "image.resize1d": _resize(1),
    "image.resize2d": _resize(2),
    "image.resize3d": _resize(3),
    "image.grid_sample": _grid_sample,
    "nn.upsampling": _upsampling(2),
    "nn.upsampling3d": _upsampling(3),
}
