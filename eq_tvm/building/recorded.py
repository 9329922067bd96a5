"""The annotated module of a network, by images or by scales of its own, with the record that its bundle keeps."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.building.canonical import pass_errors
from eq_tvm.building.sha256 import sha256
from eq_tvm.inputs.synthetic_inputs import noise_of
from eq_tvm.methods import OWN
from eq_tvm.options.declared import AUTO
from eq_tvm.quantizing import synthetic
from eq_tvm.quantizing.images import images_in, images_to_compare, read_images
from eq_tvm.quantizing.quantization import Quantization

if TYPE_CHECKING:
    import tvm

    from eq_tvm.passes import Progress
    from eq_tvm.quantizing.goal import Goal
    from eq_tvm.targets import TargetSpec


def quantize(
    module: tvm.IRModule,
    inputs: tuple[TensorInfo, ...],
    how: Quantization,
    spec: TargetSpec,
    optimize: str,
    goal: Goal,
    max_drop: float | None,
    dump: str | Path | None,
    progress: Progress,
) -> tuple[tvm.IRModule, dict[str, Any] | None, str]:
    """The annotated module, the bundle's record of it and its scheme; the module and None if nothing can be quantized.

    `goal` is what types are to reach, where the scheme is `auto`.
    """
    from eq_tvm import pipeline
    from eq_tvm.passes import part_of
    from eq_tvm.passes.graph.network import read_network
    from eq_tvm.passes.graph.spectra import layers_of_spectra
    from eq_tvm.passes.quantized.kept_layers import float_layers
    from eq_tvm.passes.quantized.quantizers import WIDE
    from eq_tvm.quantizing.best_method import calibrate
    from eq_tvm.quantizing.by_cost import by_cost
    from eq_tvm.quantizing.max_drop import fastest, keep_worst

    how = how.affordable(module, progress).with_ends(module).cautious(module, inputs)
    synthesizing, progress = (
        part_of(progress, 0.0, _SYNTHESIZED),
        part_of(progress, _SYNTHESIZED * bool(how.synthesized), 1.0),
    )
    arrays, held_out = read_images(how, inputs, module, synthesizing)
    if held_out is not None:
        held_out.samples.warn_of_raw_pixels()
        _warn_of_few(arrays, how.images_each(inputs), how.calibration)
    images = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
    loss, compared = None, {}
    decided = None
    with pass_errors():
        if how.scheme == AUTO:
            time = goal.time and partial(goal.time, inputs=inputs)
            deciding, progress = part_of(progress, 0.0, _DECIDED), part_of(progress, _DECIDED, 1.0)
            decided = by_cost(module, images, held_out, how, spec, optimize, replace(goal, time=time), deciding)
            how = decided.how
        if decided and max_drop is not None and len(decided.front) > 1:
            decided, found = fastest(module, images, held_out, decided.front, max_drop, progress)
            how, annotated, layers, kept, loss = decided.how, found.annotated, found.layers, found.kept, found.report
            pipeline.write_phase(annotated, dump, "3-annotated")
        elif max_drop is None:
            best = calibrate(module, images, images_to_compare(held_out, images), how, progress, dump)
            annotated, layers, how, compared = best.annotated, best.layers, best.how, dict(best.compared)
            widened = how.widened(layers)
            _warn_of_loss(how, len(widened), len(layers), compared)
            kept = [{"layer": layer, "kind": kind, "reason": how.reason(layer)} for layer, kind in how.kept.items()]
            reason = f"else an output's cosine is below {how.min_cosine}"
            kept += [{"layer": layer, "kind": WIDE, "reason": reason} for layer in widened]
        else:
            found = keep_worst(module, images, held_out, how, max_drop, progress)
            annotated, layers, kept, loss = found.annotated, found.layers, found.kept, found.report
            pipeline.write_phase(annotated, dump, "3-annotated")
    net = read_network(module)
    spectra = [layer for layer in layers_of_spectra(net) if layer not in how.kept]
    kept += [{"layer": layer, "kind": "float", "reason": "a logarithm follows"} for layer in spectra]
    floats = [{"layer": name, "op": operator} for name, operator in float_layers(net)]
    if not layers and not kept and not floats:
        warnings.warn(f"{how.model.name} computes in float32: {_NOTHING}", stacklevel=2)
        return module, None, "float32"
    return (
        annotated,
        {
            "calibrated": not how.is_random,
            "method": how.method,
            "refine": how.refine,
            "activation_range": how.activation_range,
            "images": images_in(arrays, how, inputs),
            "synthetic": synthetic.record(
                module,
                how.samples_of(how.synthesized, inputs),
                how.images_each(inputs),
                noise_of(inputs, how.preprocess),
                beside_typical=not how.is_synthetic,
            )
            if how.synthesized
            else None,
            "images_sha256": sha256(*arrays),
            "source": Path(how.calibration).name,
            "layers": [asdict(layer) for layer in layers],
            "kept": kept,
            "float": floats,
            "loss": loss,
            "compared": compared,
            "types": decided.record if decided else None,
        },
        how.scheme,
    )


_SYNTHESIZED = 0.5  # of the time that all takes
_DECIDED = 0.5  # of what is left


def take_scales(
    module: tvm.IRModule, how: Quantization, requantize: bool, dump: str | Path | None
) -> tuple[tvm.IRModule, dict[str, Any]]:
    """The annotated module of a network that came quantized, and the bundle's record of it."""
    from eq_tvm import pipeline

    with pass_errors():
        annotated, given = pipeline.take_scales(module, requantize=requantize, dump=dump)
    return annotated, {
        "calibrated": True,
        "method": OWN,
        "activation_range": OWN,
        "images": 0,
        "synthetic": None,
        "source": how.model.name,
        "layers": [asdict(layer) for layer in given.record],
        "kept": [],
        "float": [{"layer": name, "op": operator} for name, operator in given.left],
        "loss": None,
        "compared": {},
        "types": None,
    }


def _warn_of_few(arrays: list[np.ndarray], each: int, source: str | Path) -> None:
    """Where there is but one image, of which a run takes `each`, or one input; perhaps again and again."""
    if each > 1:
        arrays = [array.reshape(-1, *array.shape[2:]) for array in arrays]
    if all((array == array[:1]).all() for array in arrays):
        count = len(arrays[0])
        said = "is one image" if count == 1 else f"has {count} images that are all the same"
        warnings.warn(f"{source} {said}: scales need about 50 typical ones", stacklevel=3)


def _warn_of_loss(how: Quantization, widened: int, layers: int, compared: dict[str, float]) -> None:
    """Where most layers had to be widened, or an output is far from float32 all the same."""
    if 2 * widened > layers:
        warnings.warn(
            f"{widened} of {layers} layers read activations of 12 bits, which takes longer: else an "
            f"output's cosine is below {how.min_cosine}; --min-cosine 0 leaves them at 8",
            stacklevel=3,
        )
    if (cosine := compared.get(how.method, 1.0)) < _POOR:
        warnings.warn(
            f"an output of {how.model.name}, or a part of one, has a cosine of only {cosine:.2f} with float32: "
            "try --scheme int8 or w8a12, or --max-drop; python -m eq_tvm analyze says which layers lose",
            stacklevel=3,
        )


_POOR = 0.9
_NOTHING = "it has no convolution, dense layer or product of matrices, and nothing else gains by 8 bits"
