"""What a report says, and the page that shows it: one file, readable offline."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import write_whole
from eq_tvm.reporting.measured import DATA, measured_before
from eq_tvm.reporting.picture import WEIGHTS, layer_of, picture
from eq_tvm.reporting.summary import summary

HERE = Path(__file__).parent
_RECORDED = ("op", "scheme", "cosine_before", "cosine_after", "input_scale", "lost_channels",
             "input_low", "input_high", "input_ends", "input_counts", "similarity", "steps")  # fmt: skip
_BARS = 128  # of a histogram at most


def write_report(paths: Sequence[str | Path], output: str | Path, measured: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the report of a bundle, or of two side by side, as one HTML file.

    What the file that it replaces says was measured of other bundles stays in it, for a later report of these.

    Parameters
    ----------
    paths : sequence of path
        One bundle, or two.
    output : path of the file
    measured : sequence of dict, optional
        For each bundle, what else is known of it: `bench` (what `eq_tvm.bench.bench` gives, and the `machine`),
        `layers` (`bench_layers`), `evaluated` (`eq_tvm.evaluate.evaluate`, and `data`), `float32` (`engine` and
        `median_ms` of the float network), each where it was measured. `measured` gives it.

    Raises
    ------
    UserError
        A bundle can't be read, there are none or more than two, or the file can't be written.
    """
    if not 1 <= len(paths) <= 2:
        raise UserError(f"a report shows one bundle, or two side by side, not {len(paths)}")
    known = [*measured, *[{}] * (len(paths) - len(measured))]
    shown = [describe(path, each) for path, each in zip(paths, known, strict=True)]
    title = " and ".join(each["name"] for each in shown)
    libraries = [each.get("library") for each in known]
    before = [each for each in measured_before(output) if each["library"] not in libraries]
    data = json.dumps({"bundles": shown, "before": before}, allow_nan=False)
    data = data.replace("<", "\\u003c")  # which would end the script
    page = Template((HERE / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        style=(HERE / "report.css").read_text(encoding="utf-8"),
        script="\n".join((HERE / name).read_text(encoding="utf-8") for name in ("details.js", "front.js", "report.js")),
        data=data.join(DATA),
    )
    with system_errors(f"write {output}"):
        write_whole(output, lambda file: file.write(page.encode()))


def page_of(path: str | Path) -> Path:
    """The file that a bundle's report is by default: beside it, with the ending .html instead of .eqtvm."""
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.eqtvm')}.html")


def describe(path: str | Path, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A bundle as the page's script reads it: `name`, `summary` (rows of two texts), `layers`, `boxes` and more.

    `measured` is as for `write_report`, and stays in the page.
    """
    measured = measured or {}
    bundle = bundles.read(path)
    model = None if bundle.not_exported else onnx.load_from_string(bundles.read_network(path))
    layers = _layers(bundle, model, measured.get("layers", ()))
    names = [layer["name"] for layer in layers]
    return {
        "name": Path(path).name,
        "summary": summary(bundle, model, measured),
        "layers": layers,
        "boxes": [] if model is None else [vars(box) for box in picture(model, names)],
        "why": bundle.not_exported,
        "optimize": bundle.optimize,
        "types": (bundle.calibration or {}).get("types"),
        "kernels": bool(bundle.kernels),
        "measured": dict(measured),
    }


def _layers(bundle: Bundle, model: onnx.ModelProto | None, timed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those with kernels, each with what is known of it by any of the sources."""
    rows: dict[str, dict[str, Any]] = {}
    for kernel in bundle.kernels:
        product = {} if kernel["weight_bytes"] else {"op": "matmul"}  # of two activations
        rows[kernel["layer"]] = (
            {"name": kernel["layer"]}
            | product
            | {key: kernel[key] for key in ("kernel", "macs", "cycles", "weight_bytes")}
        )
        rows[kernel["layer"]] |= {key: kernel[key] for key in ("considered", "left_out") if key in kernel}
    record = bundle.calibration or {}
    for layer in record.get("layers", ()):
        rows.setdefault(layer["layer"], {"name": layer["layer"]}).update({key: layer.get(key) for key in _RECORDED})
    for kept in record.get("kept") or ():
        if kept["layer"] in rows:
            rows[kept["layer"]]["kept"] = f"{kept['kind']}: {kept['reason']}"
    for row in timed:
        if row.get("layer") in rows:
            rows[row["layer"]]["us"] = round(row["us"], 2)
    for name, histogram in ({} if model is None else _weight_histograms(model)).items():
        if name in rows:
            rows[name]["weights"] = histogram
    return list(rows.values())


def _weight_histograms(model: onnx.ModelProto) -> dict[str, dict[str, Any]]:
    """Of each layer's quantized weights: `low`, the first value, `step` between bars, and their `counts`."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors
    }
    found = {}
    for node in model.graph.node:
        if (layer := layer_of(node)) and layer + WEIGHTS in pairs:
            values = numpy_helper.to_array(tensors[pairs[layer + WEIGHTS]]).astype(np.int64).ravel()
            low, high = int(values.min()), int(values.max())
            step = -(-(high - low + 1) // _BARS)
            counts = np.bincount((values - low) // step, minlength=1)
            found[layer] = {"low": low, "step": step, "counts": counts.tolist()}
    return found
