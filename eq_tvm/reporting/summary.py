"""The head of a report: what a network is, how large and fast, and what it lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.errors import counted
from eq_tvm.quantizing.synthetic import images_said
from eq_tvm.quantizing.types_said import types_row

Rows = list[tuple[str, str]]
_NAMED = 3  # layers

# What `evaluate` measures, and how it is called
_EVALUATED = {
    "top1": "top-1",
    "top5": "top-5",
    "map": "mAP",
    "miou": "mIoU",
    "agreement": "agreement with float32",
    "cosine": "cosine of outputs",
}


def summary(bundle: Bundle, model: onnx.ModelProto | None, measured: Mapping[str, Any]) -> Rows:
    """Rows of two texts.

    Parameters
    ----------
    bundle : Bundle
    model : onnx.ModelProto, optional
        The quantized network.
    measured : mapping
        See `write_report`.
    """
    target = bundle.target
    return [
        ("network", bundle.model),
        ("target", f"{target['name']} ({target.get('description', '')})"),
        ("scheme", bundle.scheme),
        ("size", _size(bundle, model)),
        *_types(bundle),
        *_calibration(bundle.calibration),
        *_time(measured.get("bench"), measured.get("float32")),
        *_accuracy(measured.get("evaluated") or {}),
    ]


def float_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the weights and biases of a network, as float32, that `eq_tvm.exporting.qdq.to_onnx` wrote."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    read = {
        name
        for node in model.graph.node
        for name in (node.input[:1] if node.op_type in ("QuantizeLinear", "DequantizeLinear") else node.input)
        if name in tensors
    }
    return sum(4 * math.prod(tensors[name].dims) for name in read if tensors[name].dims)  # others are limits


def _size(bundle: Bundle, model: onnx.ModelProto | None) -> str:
    size = bundle.library.stat().st_size
    if model is None:
        return f"{size / 1e6:.2f} MB"
    whole = float_bytes(model)
    return f"{size / 1e6:.2f} MB, code included; as float32, the weights alone are {whole / 1e6:.2f} MB"


def _types(bundle: Bundle) -> Rows:
    types = (bundle.calibration or {}).get("types")
    return [("types", types_row(types, bundle.scheme))] if types else []


def _calibration(record: Mapping[str, Any] | None) -> Rows:
    if record is None:
        return []
    images = counted(record["images"], "image") if not record.get("synthetic") else images_said(record)
    images = images if record["calibrated"] else "random images, for speed only"
    rows = [("calibration", f"{record['method']} on {images}")]
    compared = [layer for layer in record["layers"] if layer.get("cosine_after") is not None]
    if compared:
        compared.sort(key=lambda layer: layer["cosine_after"])
        mean = np.mean([layer["cosine_after"] for layer in compared])
        lowest = ", ".join(f"{layer['layer']} {layer['cosine_after']:.4f}" for layer in compared[:_NAMED])
        rows.append(("cosine of layers", f"{mean:.4f} on average; lowest: {lowest}"))
    if both := record.get("compared"):
        listed = ", ".join(f"{cosine:.4f} with {method}" for method, cosine in both.items())
        rows.append(("methods compared", f"lowest cosine of an output: {listed}"))
    if floats := record.get("float"):
        named = [f"{layer['layer']} ({layer['op']})" for layer in floats[:_NAMED]]
        more = ["..."] * (len(floats) > _NAMED)
        count = f"{len(floats)} of {counted(len(floats) + len(record['layers']), 'layer')}"
        rows.append(("left in float32", f"{count}: {', '.join(named + more)}"))
    return rows


def _time(bench: Mapping[str, Any] | None, float32: Mapping[str, Any] | None) -> Rows:
    if bench is None:
        return []
    count = counted(bench["threads"], "thread")
    rows = [("time", ", ".join([f"{bench['median_ms']:.3f} ms on {count}", *filter(None, [bench.get("machine")])]))]
    if float32 is not None:
        factor = float32["median_ms"] / bench["median_ms"]
        rows.append(
            ("time of float32", f"{float32['median_ms']:.3f} ms in {float32['engine']}: {factor:.2f} times as long")
        )
    return rows


def _accuracy(evaluated: Mapping[str, Any]) -> Rows:
    images = counted(evaluated["n"], "image") if "data" in evaluated else ""
    rows = [("evaluated on", f"{images} of {evaluated['data']}")] if images else []
    for key, name in _EVALUATED.items():
        if (value := evaluated.get(key)) is not None:
            of_float = evaluated.get(f"float_{key}")
            text = f"{value:.6f}" if key == "cosine" else f"{value:.2%}"
            rows.append((name, text + (f" (float32: {of_float:.2%})" if of_float is not None else "")))
    return rows
