"""What to do about a layer that loses much, by what `eq_tvm.passes.analyze_layers` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eq_tvm.methods import REFINED

Layer = Mapping[str, Any]  # what is said of one layer

_SHARE = 2.0  # times its even part of the error at the output: harmful
_LOW_DB = 20.0  # so little signal to noise of a layer alone, too
_BIT_DB = 6.0  # what another bit brings: a quarter of the error
_UNEVEN = 16.0  # times the median channel: four bits


def hint(layer: Layer, count: int, method: str) -> str:
    """One line, or nothing where the layer, of `count`, does no harm."""
    if layer["share"] * count < _SHARE and _db(layer["sqnr_alone_db"]) >= _LOW_DB:
        return ""
    return next(text for text in (rule(layer, method) for rule in _RULES) if text)


def _saturation(layer: Layer, method: str) -> str:
    clipped = [x["saturated"] for x in layer["inputs"] if x["scale"] < 0.9 * x["scale_max_abs"]]
    if max(clipped, default=0) > 0.01:
        return f"saturates {max(clipped):.0%} of its input: try --method minmax{REFINED * method.endswith(REFINED)}"
    return ""


def _dead_channels(layer: Layer, method: str) -> str:
    if (dead := layer.get("dead_channels", 0) - layer.get("dead_channels_float", 0)) > 0:
        return f"quantization makes {dead} more of its {layer['channels']} channels 0: {_wider(layer)}"
    return ""


def _few_large_weights(layer: Layer, method: str) -> str:
    weights = layer.get("weights")
    if weights is None or _db(layer["sqnr_weights_db"]) > _db(layer["sqnr_inputs_db"]):
        return ""
    if weights["channel_ratio"] > _UNEVEN:
        return f"weights: one input channel dominates ({weights['channel_ratio']:.0f} times): {_even(layer, method)}"
    if weights["zeroed"] > 0.5:
        return f"weights: {weights['zeroed']:.0%} become 0 beside a few large ones: {_wider(layer)}"
    return ""


def _uneven_input(layer: Layer, method: str) -> str:
    ratio = max((x["channel_ratio"] for x in layer["inputs"]), default=1)
    if ratio > _UNEVEN:
        return f"input: one channel dominates ({ratio:.0f} times): {_even(layer, method)}"
    return ""


def _shift(layer: Layer, method: str) -> str:
    if layer["shift"] > 0.3 and not method.endswith(REFINED):
        return f"{layer['shift']:.0%} of it is a shift: try --method {method}{REFINED}"
    return ""


def _even(layer: Layer, method: str) -> str:
    return _wider(layer) if method.endswith(REFINED) else f"{_wider(layer)}, or try --method {method}{REFINED}"


def _wider(layer: Layer, method: str = "") -> str:
    """INT8 unless even that leaves the layer's output poor, or more error than all other layers cause."""
    enough = _db(layer["sqnr_alone_db"]) + _BIT_DB >= _LOW_DB and layer["share"] / 4 <= 1 - layer["share"]
    return "keep at int8" if layer["scheme"] != "int8" and enough else "keep float"


def _db(value: float | None) -> float:
    return float("inf") if value is None else value


_RULES = (_saturation, _few_large_weights, _uneven_input, _dead_channels, _shift, _wider)
