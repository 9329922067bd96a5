"""Results as text for people."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eq_tvm.bundle import Bundle
from eq_tvm.standalone import EXAMPLE, Standalone
from eq_tvm.targets import HAVE_TVM, TargetSpec

WORST_LAYERS = 3


def compile_report(written: Bundle | Standalone, seconds: float) -> str:
    """What was compiled, how well its scales fit, and what to do next."""
    network = written.network if isinstance(written, Standalone) else written
    target = network.target
    rows = {
        "library" if isinstance(written, Standalone) else "bundle": str(_relative(written.path)),
        "target": f"{target['name']} ({target['description']})",
        "scheme": network.scheme,
        "size": f"{written.library.stat().st_size / 1e6:.2f} MB",
        "optimize": network.optimize,
        "time": f"{seconds:.1f} s",
    }
    if network.optimize == "speed":
        more = sum(kernel["weight_bytes"] - kernel["small_weight_bytes"] for kernel in network.kernels)
        rows["optimize"] += f", which costs {max(more, 0):,} bytes of weights over --optimize size"
    if isinstance(written, Standalone):
        rows["memory"] = f"{written.workspace / 1e6:.2f} MB of workspace on one thread"
    if record := network.calibration:
        rows["scheme"] += f", {record['activation_range']} activations"
        rows["calibration"] = f"{record['method']} on {record['images']} images of {record['source']}"
        if not record["calibrated"]:
            rows["calibration"] = "none: scales from random images, for measuring speed only"
        elif cosines := sorted((r["cosine_after"], r["layer"]) for r in record["layers"] if "cosine_after" in r):
            worst = ", ".join(f"{name} {cosine:.4f}" for cosine, name in cosines[:WORST_LAYERS])
            mean = np.mean([cosine for cosine, _ in cosines])
            rows["cosine"] = f"{mean:.4f} on average over {len(cosines)} layers; lowest: {worst}"
    rows["next"] = _next_step(written)
    return _aligned(rows)


def top_report(name: str, outputs: Mapping[str, np.ndarray], top: int) -> str:
    """The highest scores of one run; only the shape and range of outputs that are not one vector of scores."""
    lines = [name]
    for output, values in outputs.items():
        scores = np.squeeze(values)
        if scores.ndim == 1:
            best = np.argsort(-scores, kind="stable")[:top]
            lines += [f"  {output}", *(f"    {index:5d}  {scores[index]:.4f}" for index in best)]
        else:
            lines.append(f"  {output}  {values.shape}, from {values.min():.4f} to {values.max():.4f}")
    return "\n".join(lines)


def layers_report(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each function that a run calls."""
    lines = [f"{'us':>9} {'share':>6} {'GMAC/s':>7} {'bound':>6}  {'kernel':34} layer"]
    for row in rows:
        speed = f"{row['gmacs']:7.1f}" if "gmacs" in row else " " * 7
        bound = f"{row['bound']:6.0f}" if row.get("bound") else " " * 6
        layer = row.get("layer", "")
        lines.append(f"{row['us']:9.1f} {row['share']:6.1%} {speed} {bound}  "
                     f"{row.get('kernel', row['function']):34} {layer}".rstrip())
    total = sum(row["us"] for row in rows)
    lines.append(f"{total:9.1f} us in all. bound: the same multiplications on data in the near caches.")
    return "\n".join(lines)


def evaluation_report(result: Mapping[str, float | int | None]) -> str:
    """Accuracy and closeness to the reference."""
    top1, agreement, cosine = (result[key] for key in ("top1", "agreement", "cosine"))
    return _aligned(
        {
            "images": str(result["n"]),
            "top-1": "no labels" if top1 is None else f"{top1:.2%}",
            "agreement": "no --reference" if agreement is None else f"{agreement:.2%} with the float32 reference",
            "cosine": "no --reference" if cosine is None else f"{cosine:.6f} with the float32 reference",
        }
    )


def targets_report(targets: Mapping[str, TargetSpec]) -> str:
    """One line per target."""
    lines = []
    for name, spec in targets.items():
        instructions = ", ".join(spec.instructions) or "none that eq_tvm has kernels for"
        lines.append(f"{name:12}{spec.description}: {instructions}")
    return "\n".join(lines)


def _next_step(written: Bundle | Standalone) -> str:
    path = _relative(written.path)
    if isinstance(written, Standalone):
        return f"build {path / EXAMPLE}, which says how, and run it on a raw tensor file"
    if written.target["architecture"] not in HAVE_TVM:
        return "--artifact standalone: TVM, which runs bundles, has no packages for that system"
    if written.target["architecture"] != platform.machine():
        return f"copy {path} to the device, install eq-tvm there, and: python -m eq_tvm run {path.name} --input IMAGE"
    others = "" if written.is_example else f" --data IMAGES --reference {written.model}.onnx"
    return f"python -m eq_tvm evaluate {path}{others}"


def _relative(path: Path) -> Path:
    """As seen from the working directory, where it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _aligned(rows: Mapping[str, str]) -> str:
    width = max(map(len, rows)) + 2
    return "\n".join(f"{key:{width}}{value}" for key, value in rows.items())
