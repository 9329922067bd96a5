"""Results as text for people."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.errors import counted
from eq_tvm.methods import OWN
from eq_tvm.options.declared import AUTO
from eq_tvm.quantizing.synthetic import images_said
from eq_tvm.quantizing.types_said import others_kept, types_row, types_table
from eq_tvm.standalone import EXAMPLE, Standalone
from eq_tvm.targets import TargetSpec, has_tvm

WORST_LAYERS = 3
ANALYZED_LAYERS = 20
KEPT_LAYERS = 5


def compile_report(
    written: Bundle | Standalone,
    seconds: float,
    share_of_islands: float | None = None,
    settings: str = "",
    page: Path | None = None,
) -> str:
    """What was compiled, by which `settings` of a file, how well its scales fit, its report, and what to do next.

    `share_of_islands` is the part of a run's time that float islands take, where that was measured.
    """
    network = written.network if isinstance(written, Standalone) else written
    target = network.target
    rows = {
        "library" if isinstance(written, Standalone) else "bundle": str(_relative(written.library.parent)),
        "target": f"{target['name']} ({target['description']})",
        "scheme": network.scheme,
        "size": f"{written.library.stat().st_size / 1e6:.2f} MB",
        "optimize": network.optimize,
        "time": f"{seconds:.1f} s",
    }
    if network.optimize == "speed":
        more = sum(kernel["weight_bytes"] - kernel["small_weight_bytes"] for kernel in network.kernels)
        rows["optimize"] += f", which costs {max(more, 0):,} bytes of weights over --optimize size"
    if page is not None:
        rows["report"] = str(_relative(page))
    if settings:
        rows["settings"] = settings
    if isinstance(written, Standalone):
        rows["memory"] = f"{written.workspace / 1e6:.2f} MB of workspace on one thread"
    rows |= _calibration_rows(network)
    if counts := kernel_counts(network):
        rows["kernels"] = ", ".join(f"{count} {algorithm}" for algorithm, count in counts.items())
    if network.islands and network.scheme != "float32":
        rows["islands"] = _islands(network.islands, share_of_islands)
    rows["next"] = _next_step(written)
    types = (network.calibration or {}).get("types")
    return "\n".join(filter(None, [_aligned(rows), "" if types is None else types_table(types)]))


def _islands(islands: Mapping[str, int], share: float | None) -> str:
    """What computes in floats between integer layers, and what that costs."""
    most = sorted(islands, key=lambda name: -islands[name])[:WORST_LAYERS]
    named = [f"{name[:_NAME]} {islands[name]}" for name in most] + ["..."] * (len(islands) > len(most))
    cost = f", {share:.0%} of a run's time here" if share is not None else ""
    return f"{counted(sum(islands.values()), 'float function')} between integer layers{cost}: {', '.join(named)}"


_NAME = 40  # characters of a function's name: one that fuses many has a long one


def kernel_counts(network: Bundle) -> dict[str, int]:
    """How many layers each algorithm computes, the most first.

    Of convolutions, those by depthwise kernels alone have no record of a choice; other layers without one (products,
    sums) count by what they are.
    """
    counts = Counter(_algorithm(kernel["kernel"]) for kernel in network.kernels)
    chosen = {kernel["layer"] for kernel in network.kernels}
    for layer in (network.calibration or {}).get("layers", []):
        if layer["layer"] not in chosen and (op := layer.get("op")):
            counts["depthwise" if op in ("conv1d", "conv2d", "conv3d") else op] += 1
    return dict(counts.most_common())


def _algorithm(kernel: str) -> str:
    """Of a kernel by its name: algorithm, instruction, tiling."""
    algorithm, *_, last = kernel.split()
    return f"{algorithm} nibbles" if last == "nibbles" else algorithm.replace("F(", "Winograd F(")


def _calibration_rows(network: Bundle) -> dict[str, str]:
    """How the scales were found, how well they fit, and what that led to."""
    record = network.calibration
    if record is None:
        return {}
    if network.scheme == OWN:
        anew = sum(not layer["given"] for layer in record["layers"])
        said = f"those of {record['source']} in {counted(len(record['layers']) - anew, 'layer')}"
        return {"scales": said + f", new ones for the weights of {anew}" * bool(anew)} | _float_rows(record)
    rows = {
        "scheme": f"{AUTO if record.get('types') else network.scheme}, {record['activation_range']} activations",
        "calibration": f"{record['method']} on {images_said(record)}",
    }
    if not record["calibrated"]:
        rows["calibration"] = "none: scales from random images, for measuring speed only"
    elif layers := sorted(filter(_compared, record["layers"]), key=lambda layer: layer["cosine_after"]):
        worst = ", ".join(f"{r['layer']} {r['cosine_after']:.4f}{_bound(r)}" for r in layers[:WORST_LAYERS])
        mean = np.mean([layer["cosine_after"] for layer in layers])
        rows["cosine"] = f"{mean:.4f} on average over {counted(len(layers), 'layer')}; lowest: {worst}"
    if compared := record.get("compared"):
        listed = ", ".join(f"{cosine:.4f} with {method}" for method, cosine in compared.items())
        rows["compared"] = f"lowest cosine of an output or a part of one: {listed}"
    rows |= _float_rows(record)
    if types := record.get("types"):
        rows["types"] = types_row(types, network.scheme)
    if kept := others_kept(record):
        named = [f"{row['layer']} {row['kind']} ({row['reason']})" for row in kept[:KEPT_LAYERS]]
        rows["kept wider"] = "; ".join(named + [f"{len(kept) - len(named)} more"] * (len(kept) > len(named)))
    if loss := record["loss"]:
        rows["loss"] = (
            f"{loss['drop']:.2f} points of {loss['measure']} on {counted(loss['images'], 'other image')} of "
            f"{record['source']}"
        )
        if kept:
            rows["loss"] += f"; {loss['drop_before']:.2f} before"
        if loss["measure"] != "agreement":
            rows["loss"] += f" (float32: {loss['float32']:.2f} %, agreement with it: {loss['agreement']:.2f} %)"
    return rows


def _float_rows(record: Mapping[str, Any]) -> dict[str, str]:
    if not (floats := record.get("float")):
        return {}
    named = [f"{row['layer']} ({row['op']})" for row in floats[:WORST_LAYERS]]
    more = ["..."] * (len(floats) > len(named))
    layers = f"{len(floats)} of {counted(len(floats) + len(record['layers']), 'layer')}"
    return {"float32": f"{layers}, which have no integer kernels: {', '.join(named + more)}"}


def _compared(layer: Mapping[str, Any]) -> bool:
    """Whether the method that found its scales has compared its outputs."""
    return layer.get("cosine_after") is not None


def _bound(layer: Mapping[str, Any]) -> str:
    """What no scale can mend."""
    lost = layer.get("lost_channels", 0)
    way_out = f"--keep {layer['layer']}=float"
    are = f"{counted(lost, 'channel')} of its input {'is' if lost == 1 else 'are'}"
    return f" ({are} too small for a scale beside others: {way_out})" if lost else ""


def analysis_report(result: Mapping[str, Any]) -> str:
    """The worst layers of what `eq_tvm.analysis.analyze` found, one line each."""
    layers = result["layers"]
    width = max(5, *(len(layer["layer"]) for layer in layers[:ANALYZED_LAYERS]), 5)
    others = f", analyzed on {result['analyzed']} others" * bool(result["analyzed"])
    lines = [
        f"{result['model']}, {result['scheme']}, {result['method']} on {counted(result['images'], 'image')} of "
        f"{result['source']}{others}: cosine {result['cosine']:.4f} of the outputs, {_db(result['sqnr_db'])} dB",
        "",
        f"{'layer':{width}}  {'op':10}{'error':>6} {'alone dB':>8} {'weights':>7} {'inputs':>6} {'so far':>6} "
        f"{'cosine':>6} {'scale':>5} {'satur.':>6} {'dead':>4}  hint",
    ]
    for layer in layers[:ANALYZED_LAYERS]:
        factors = [x["scale"] / x["scale_max_abs"] for x in layer["inputs"]]
        saturated = max((x["saturated"] for x in layer["inputs"]), default=0.0)
        dead = str(layer.get("dead_channels", ""))
        lines.append(
            f"{layer['layer']:{width}}  {layer['op']:10}{layer['share']:6.1%} {_db(layer['sqnr_alone_db']):>8} "
            f"{_db(layer.get('sqnr_weights_db', '')):>7} {_db(layer.get('sqnr_inputs_db', '')):>6} "
            f"{_db(layer['sqnr_db']):>6} {layer['cosine']:6.4f} {min(factors, default=1):5.2f} {saturated:6.1%} "
            f"{dead:>4}  {layer['hint']}".rstrip()
        )
    if len(layers) > ANALYZED_LAYERS:
        lines.append(f"{len(layers) - ANALYZED_LAYERS} more, with less error: --json or --output FILE.json has all")
    kept = "".join(f" {layer} {kind}," for layer, kind in result["kept"].items()).strip(",")
    return "\n".join([*lines, *([f"kept wider:{kept}"] * bool(kept)), "", _ANALYSIS_LEGEND])


def bundle_layers_report(bundle: Bundle) -> str:
    """What the bundle's record says of its layers, those with the lowest cosine first."""
    record = bundle.calibration
    if record is None:
        return f"{bundle.model}: {bundle.scheme}, nothing is quantized"
    layers = sorted(record["layers"], key=lambda layer: layer["cosine_after"] if _compared(layer) else 1.0)
    width = max(5, *(len(layer["layer"]) for layer in layers), 5)
    lines = [
        f"{bundle.model}, {bundle.scheme}, {record['method']} on {images_said(record)}",
        "",
        f"{'layer':{width}}  {'op':8}{'scheme':8}{'cosine':>17} {'scale of the input':>26} {'of weights':>10}",
    ]
    others = "" if bundle.is_example else f" {bundle.model_file or 'MODEL'} --calibration DATA --preprocess FILE"
    lines += [_layer_line(layer, width) for layer in layers]
    lines += [f"kept {row['kind']}: {row['layer']} ({row['reason']})" for row in record.get("kept") or []]
    more = [] if bundle.scheme == OWN else ["", f"More: python -m eq_tvm analyze{others}"]  # there is no float network
    return "\n".join([*map(str.rstrip, lines), *more])


def _layer_line(layer: Mapping[str, Any], width: int) -> str:
    """What is recorded of a layer; nothing in the place of what a method, or a former eq_tvm, does not record."""
    cosines = f"{_number(layer, 'cosine_before', '.4f')} -> {_number(layer, 'cosine_after', '.4f')}"
    scales = f"{_number(layer, 'input_scale_initial', '.6g')} -> {_number(layer, 'input_scale', '.6g')}"
    start, found = layer.get("weight_scales_initial"), layer.get("weight_scales")
    factor = f"x {np.median(np.divide(found, start)):.2f}" if start and found else ""
    return (
        f"{layer['layer']:{width}}  {layer.get('op', ''):8}{layer.get('scheme', ''):8}"
        f"{cosines.removeprefix(' -> ').removesuffix(' -> '):>17} {scales.removeprefix(' -> '):>26} {factor:>10}"
        f"{_bound(layer)}"
    )


def _number(layer: Mapping[str, Any], key: str, form: str) -> str:
    value = layer.get(key)
    return "" if value is None else format(value, form)


def top_report(name: str, outputs: Mapping[str, np.ndarray], top: int) -> str:
    """The highest scores of one run; only the shape and range of outputs that are not one vector of scores."""
    lines = [name]
    for output, values in outputs.items():
        scores = np.squeeze(values)
        if scores.ndim == 1:
            best = np.argsort(-scores.astype(np.float64), kind="stable")[:top]
            lines += [f"  {output}", *(f"    {index:5d}  {_value(scores[index])}" for index in best)]
        elif scores.ndim == 0:
            lines.append(f"  {output}  {_value(scores[()])}")
        else:
            lines.append(f"  {output}  {values.shape}, from {_value(values.min())} to {_value(values.max())}")
    return "\n".join(lines)


def _value(number: Any) -> str:
    return f"{number:.4f}" if number.dtype.kind == "f" else str(number)


def layers_report(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each function that a run calls."""
    lines = [f"{'us':>9} {'share':>6} {'GMAC/s':>7} {'bound':>6}  {'kernel':34} layer"]
    for row in rows:
        speed = f"{row['gmacs']:7.1f}" if "gmacs" in row else " " * 7
        bound = f"{row['bound']:6.0f}" if row.get("bound") else " " * 6
        layer = row.get("layer", "")
        lines.append(
            f"{row['us']:9.1f} {row['share']:6.1%} {speed} {bound}  "
            f"{row.get('kernel', row['function']):34} {layer}".rstrip()
        )
    total = sum(row["us"] for row in rows)
    lines.append(f"{total:9.1f} us in all. bound: the same multiplications on data in the near caches.")
    return "\n".join(lines)


def evaluation_report(result: Mapping[str, float | int | None]) -> str:
    """Accuracy and closeness to the reference."""
    top1, top5, agreement, cosine = (result[key] for key in ("top1", "top5", "agreement", "cosine"))
    none = "no --reference" if cosine is None else "the first output decides nothing"
    rows = {
        "images": str(result["n"]),
        "top-1": "no labels, or no scores" if top1 is None else f"{top1:.2%}",
        "agreement": f"{agreement:.2%} with the float32 reference" if agreement is not None else none,
        "cosine": "no --reference" if cosine is None else f"{cosine:.6f} with the float32 reference",
    }
    if "map" in result:  # decisions between the numbers of boxes say nothing
        del rows["top-1"], rows["agreement"]
    if top5 is not None:
        rows["top-1"] += f", top-5 {top5:.2%}"
    if "float_top1" in result and "top-1" in rows:
        fives = f", {result['float_top5']:.2%}" if top5 is not None else ""
        rows["top-1"] += f" (float32: {result['float_top1']:.2%}{fives})"
    for key, (name, nothing) in _OF_TASKS.items():
        if key in result:
            value = result[key]
            rows[name] = nothing if value is None else f"{value:.4f}"
            if f"float_{key}" in result:
                rows[name] += f" (float32: {result[f'float_{key}']:.4f})"
    return _aligned(rows)


_OF_TASKS = {
    "map": ("mAP", "there is nothing to be found"),
    "map50": ("mAP at 0.50", "there is nothing to be found"),
    "miou": ("mIoU", "there are no pixels"),
}


def targets_report(targets: Mapping[str, TargetSpec]) -> str:
    """One line per target."""
    lines = []
    width = max(map(len, targets)) + 2
    for name, spec in targets.items():
        instructions = ", ".join(spec.instructions) or "none that eq_tvm has kernels for"
        lines.append(f"{name:{width}}{spec.description}: {instructions}")
    return "\n".join(lines)


_ANALYSIS_LEGEND = """\
error: share of the error at the network's output, if each layer alone was quantized. dB: signal to quantization noise
of the layer's output alone, with only weights or inputs quantized, and with all layers before it (so far; cosine, too).
scale: of the input, in parts of that by largest magnitude; satur.: share of the input at the ends of its range; dead:
channels that are always 0. Try: --keep LAYER=int8, w8a12 or float, or --max-drop POINTS, which finds such layers."""


def _db(value: float | str | None) -> str:
    return value if isinstance(value, str) else "exact" if value is None else f"{value:.1f}"


def _next_step(written: Bundle | Standalone) -> str:
    path = _relative(written.library.parent)
    if isinstance(written, Standalone):
        return f"build {path / EXAMPLE}, which says how, and run it on a raw tensor file"
    if not has_tvm(written.target):
        return "--artifact standalone: TVM, which runs bundles, has no packages for that system"
    if written.target["architecture"] != platform.machine():
        return f"copy {path} to the device, install eq-tvm there, and: python -m eq_tvm run {path.name} --input IMAGE"
    reference = f" --reference {shlex.quote(written.model_file)}" if written.model_file else ""
    others = "" if written.is_example else f" --data IMAGES{reference}"
    return f"python -m eq_tvm evaluate {shlex.quote(str(path))}{others}"


def _relative(path: Path) -> Path:
    """As seen from the working directory, where it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _aligned(rows: Mapping[str, str]) -> str:
    width = max(map(len, rows)) + 2
    return "\n".join(f"{key:{width}}{value}" for key, value in rows.items())
