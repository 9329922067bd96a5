"""What training starts from: the prepared float network, and scales found on a few images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.errors import UserError
from eq_tvm.importer.own_scales import has_scales
from eq_tvm.options.declared import QuantizeOptions
from eq_tvm.quantizing.images import read_images
from eq_tvm.quantizing.quantization import Quantization

if TYPE_CHECKING:
    import tvm

    from eq_tvm.passes import Progress
    from eq_tvm.passes.quantized.annotate import Scales
    from eq_tvm.passes.quantized.problem import Problem
    from eq_tvm.preprocess import Preprocess


@dataclass(frozen=True)
class Start:
    """A network that is to be trained.

    Attributes
    ----------
    name : str
    module : tvm.IRModule
        Canonical, with ranges that one scale serves better.
    problem : Problem
        What of it is quantized, and to which integers.
    scales : Scales
        Of the least square error of each tensor.
    inputs, outputs : tuple of TensorInfo
    """

    name: str
    module: tvm.IRModule
    problem: Problem
    scales: Scales
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


def start(
    model: Any,
    images: str | Path,
    *,
    preprocess: Preprocess | str | Path | None,
    scheme: str,
    keep: Mapping[str, str] | None,
    progress: Progress,
    example: Any = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> Start:
    """Import a network and find the scales that training starts from; the parameters are those of `train`."""
    if isinstance(model, str | os.PathLike) and has_scales(Path(model)):
        raise UserError(f"{model} is quantized already: train the float32 network that it was made of")
    from eq_tvm import pipeline
    from eq_tvm.passes.quantized.problem import Problem
    from eq_tvm.passes.quantized.read_annotated import read_annotated

    options = QuantizeOptions(
        model, calibration=images, preprocess=preprocess, scheme=scheme, keep=keep, example=example
    )
    how = Quantization.checked(options)
    if how.is_random or how.is_synthetic:
        raise UserError(f"--images {images}: training learns from images: name a directory, .npz or .csv of them")
    progress(0.0, f"importing {how.model.name}")
    module, inputs, outputs = import_canonical(how.model, input_shapes, constants=constants)
    how = how.affordable(module, progress).with_ends(module)
    arrays, held_out = read_images(how, inputs)
    if held_out is not None:
        held_out.samples.warn_of_raw_pixels()
    few = dict(zip((param.name for param in module["main"].params), arrays, strict=True))
    progress(0.01, "finding scales to start from")
    with pass_errors():
        module = pipeline.prepare(module, few, method="mse+", **how.options)
        annotated, _ = pipeline.quantize(module, few, method="mse", kept=how.kept, **how.options)
        problem = Problem.of(module, few, how.scheme, how.activation_range, how.kept)
        scales = read_annotated(annotated, problem)
    return Start(how.model.stem, module, problem, scales, inputs, outputs)
