"""The annotated module of a network, by images or by scales of its own, with the record that its bundle keeps."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.building.canonical import pass_errors
from eq_tvm.building.sha256 import sha256
from eq_tvm.methods import OWN
from eq_tvm.quantizing.quantization import Quantization, images_in, images_to_compare, read_images

if TYPE_CHECKING:
    import tvm

    from eq_tvm.passes import Progress


def quantize(
    module: tvm.IRModule,
    inputs: tuple[TensorInfo, ...],
    how: Quantization,
    max_drop: float | None,
    dump: str | Path | None,
    progress: Progress,
) -> tuple[tvm.IRModule, dict[str, Any] | None]:
    """The annotated module and the bundle's record of it, or the module itself and None if nothing can be quantized."""
    from eq_tvm import pipeline
    from eq_tvm.passes.graph.network import read_network
    from eq_tvm.passes.graph.spectra import layers_of_spectra
    from eq_tvm.passes.quantized.kept_layers import float_layers
    from eq_tvm.passes.quantized.quantizers import WIDE
    from eq_tvm.quantizing.best_method import calibrate
    from eq_tvm.quantizing.max_drop import keep_worst

    how = how.affordable(module, progress).with_ends(module)
    arrays, held_out = read_images(how, inputs)
    if held_out is not None:
        held_out.samples.warn_of_raw_pixels()
    images = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
    loss, compared = None, {}
    with pass_errors():
        if max_drop is None:
            best = calibrate(module, images, images_to_compare(held_out, images), how, progress, dump)
            annotated, layers, how, compared = best.annotated, best.layers, best.how, dict(best.compared)
            kept = [{"layer": layer, "kind": kind, "reason": how.reason(layer)} for layer, kind in how.kept.items()]
            reason = f"else an output's cosine is below {how.min_cosine}"
            kept += [{"layer": layer, "kind": WIDE, "reason": reason} for layer in how.widened(layers)]
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
        return module, None
    return annotated, {
        "calibrated": not how.is_random,
        "method": how.method,
        "refine": how.refine,
        "activation_range": how.activation_range,
        "images": images_in(arrays, held_out),
        "images_sha256": sha256(*arrays),
        "source": Path(how.calibration).name,
        "layers": [asdict(layer) for layer in layers],
        "kept": kept,
        "float": floats,
        "loss": loss,
        "compared": compared,
    }


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
        "source": how.model.name,
        "layers": [asdict(layer) for layer in given.record],
        "kept": [],
        "float": [{"layer": name, "op": operator} for name, operator in given.left],
        "loss": None,
        "compared": {},
    }


_NOTHING = "it has no convolution, dense layer or product of matrices, and nothing else gains by 8 bits"
