"""Results as JSON for programs: the keys are those that docs/using/command-line.md lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.cli.report import kernel_counts
from eq_tvm.standalone import Standalone
from eq_tvm.targets import TargetSpec


def compiled(
    written: Bundle | Standalone,
    seconds: float,
    settings: Sequence[str],
    share_of_islands: float | None = None,
    page: Path | None = None,
) -> dict[str, Any]:
    """What `compile` made, its report too; `settings` are the options that eq_tvm.yaml gave."""
    network = written.network if isinstance(written, Standalone) else written
    record = network.calibration or {}
    layers = {layer["layer"]: layer.get("cosine_after") for layer in record.get("layers", [])}
    cosines = [cosine for cosine in layers.values() if cosine is not None]
    result = {
        "artifact": "standalone" if isinstance(written, Standalone) else "bundle",
        "path": str(written.library.parent),
        "model": network.model,
        "target": network.target["name"],
        "scheme": network.scheme,
        "optimize": network.optimize,
        "bytes": written.library.stat().st_size,
        "seconds": round(seconds, 3),
        "kernels": kernel_counts(network),
        "islands": network.islands,
        "share_of_islands": share_of_islands,
        "layers": layers,
        "cosine": float(np.mean(cosines)) if cosines else None,
        "settings": list(settings),
        "report": None if page is None else str(page),
    }
    for key in _CALIBRATION:
        result[key] = record.get(key)
    if isinstance(written, Standalone):
        result["workspace"] = written.workspace
    return result


_CALIBRATION = ("calibrated", "method", "activation_range", "images", "source",
                "kept", "float", "loss", "types", "compared")  # fmt: skip


def top_scores(name: str, outputs: Mapping[str, np.ndarray], top: int) -> dict[str, Any]:
    """One run: of an output that is one vector of scores the highest, of others their range."""
    return {"name": name, "outputs": {output: _output(values, top) for output, values in outputs.items()}}


def _output(values: np.ndarray, top: int) -> dict[str, Any]:
    said: dict[str, Any] = {"shape": list(values.shape), "dtype": values.dtype.name}
    scores = np.squeeze(values)
    if scores.ndim == 1:
        best = np.argsort(-scores.astype(np.float64), kind="stable")[:top]
        return said | {"top": [{"index": int(index), "score": _number(scores[index])} for index in best]}
    if scores.ndim == 0:
        return said | {"value": _number(scores[()])}
    return said | {"min": _number(scores.min()), "max": _number(scores.max())} if scores.size else said


def _number(value: Any) -> float | int | None:
    """As JSON has it, which knows neither NaN nor infinity."""
    number = value.item()
    return number if np.isfinite(number) else None


def known_targets(targets: Mapping[str, TargetSpec]) -> list[dict[str, Any]]:
    """The fields of ``targets.yaml``, the architecture, and whether another machine's compiler is needed."""
    return [
        asdict(spec) | {"architecture": spec.architecture, "cross": spec.is_cross, "instructions": spec.instructions}
        for spec in targets.values()
    ]
