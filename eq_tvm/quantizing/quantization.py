"""What `compile` and `analyze` share: how a network is to be quantized."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eq_tvm import example, host
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError, counted
from eq_tvm.importer.formats import file_of, onnx_file
from eq_tvm.importer.own_scales import has_scales
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.methods import BLOCKS, DEFAULT, FDDA, LAYERS, OWN, REFINED, ROWS, UNPROVED
from eq_tvm.options.declared import ANALYZED, AUTO, DEFAULT_SCHEME, CompileOptions, QuantizeOptions
from eq_tvm.options.option import check_values, options_of
from eq_tvm.preprocess import Preprocess
from eq_tvm.quantizing.synthetic import SYNTHETIC

if TYPE_CHECKING:
    import tvm

    from eq_tvm.passes import LayerRecord, Progress

RANDOM = "random"  # instead of images
_MOST_IMAGES = 100_000  # more tell nothing new

BY_COST = "by cost"  # why a layer has another type than the scheme's


@dataclass(frozen=True)
class Quantization:
    """How a network is to be quantized: `QuantizeOptions` with everything that they leave open decided.

    Attributes
    ----------
    calibration : str or Path
        Empty where nothing was passed, as for float32.
    images : int
        To find scales with.
    as_affordable : bool
        Whether fewer will do, if they are large, as nobody asked for a number.
    kept : mapping from layers to a scheme, or "float"
    min_cosine : float, optional
        0 where nobody compiles, or something else decides what is widened. None: that of the scheme, once it is known.
    is_open : bool
        Whether nobody asked for a method, so that another one may be taken.
    ends : tuple of str
        Of `kept`, first and last layers that nobody asked to keep: see `with_ends`.
    by_cost : tuple of str
        Of `kept`, those of another type than the scheme's where that was `auto`.
    synthesized : int
        How many images are made from the network, beside those of `calibration` if there are any.
    save_images : path, optional
        Where these are written to.
    """

    model: Path
    calibration: str | Path
    preprocess: Preprocess | None
    scheme: str
    method: str
    activation_range: str
    images: int
    kept: Mapping[str, str] = field(default_factory=dict)
    refine: str = LAYERS
    min_cosine: float | None = 0.0
    as_affordable: bool = False
    is_open: bool = False
    ends: tuple[str, ...] = ()
    by_cost: tuple[str, ...] = ()
    synthesized: int = 0
    save_images: str | Path | None = None

    @classmethod
    def checked(cls, options: QuantizeOptions) -> Quantization:
        """With what is left out filled in; UserError for what can't be."""
        host.check_compiler()
        check_values(options)
        model, calibration, preprocess = options.model, options.calibration, options.preprocess
        if model is None:
            model, calibration = example.MODEL, calibration or example.CALIBRATION
            preprocess = preprocess or example.PREPROCESS
        if not isinstance(model, str | os.PathLike):
            model = file_of(model, options.example)
        elif options.example is not None:
            raise UserError("an example input is for networks of PyTorch in memory: leave it out")
        model = Path(model)
        onnx_file(model)
        scheme = _scheme(model, options)
        if scheme not in ("float32", OWN) and calibration is None:
            calibration = SYNTHETIC
        random = str(calibration) == RANDOM
        images = (4 if random else 50) if options.images is None else options.images
        for flag, number in (
            ("--images", images),
            ("--synthesize", 1 if options.synthesize is None else options.synthesize),
        ):
            if not 1 <= number <= _MOST_IMAGES:
                raise UserError(f"{flag} must be from 1 to {_MOST_IMAGES}, not {number}")
        as_affordable = options.images is None and options.synthesize is None
        if options.method == FDDA:
            options = _as_fdda(options, scheme, str(calibration), images)
        synthesized = _synthesized(options, str(calibration), images)
        method = options.method or ("minmax" if random else DEFAULT)
        if options.refine:
            _check_refined(options.refine, scheme, method)
        if scheme == "float32" and options.keep:
            raise UserError("--keep is for layers of quantized networks: leave it out, or --scheme float32")
        return cls(
            model=model,
            calibration="" if calibration is None else calibration,
            preprocess=Preprocess.read(preprocess) if isinstance(preprocess, str | Path) else preprocess,
            scheme=scheme,
            method=method,
            activation_range=options.activation_range,
            refine=options.refine or (ROWS if random and not method.endswith(REFINED) else LAYERS),
            images=synthesized if str(calibration) == SYNTHETIC else images,
            kept=dict(options.keep or {}),
            as_affordable=as_affordable,
            is_open=options.method is None and not random,
            synthesized=synthesized,
            save_images=options.save_images,
        )

    def affordable(self, module: tvm.IRModule, progress: Progress) -> Quantization:
        """With fewer images where they are so large that they have as much to tell, if nobody asked for a number."""
        from eq_tvm.passes import affordable_images

        enough = affordable_images(module)
        if not self.as_affordable or enough >= self.images:
            return self
        flag = "--synthesize" if self.is_synthetic else "--images"
        progress(0.0, f"calibrating with {counted(enough, 'image')}, as they are large: {flag} takes more")
        return replace(self, images=enough, synthesized=min(enough, self.synthesized))

    def with_ends(self, module: tvm.IRModule) -> Quantization:
        """With the first and the last layers kept at INT8 where others have fewer than 6 bits, unless they are named.

        What the first loses no later layer can make up for, and the last one's output is the network's.
        """
        from eq_tvm.passes.graph.network import read_network
        from eq_tvm.passes.quantized.kept_layers import end_layers
        from eq_tvm.passes.quantized.quantizers import COARSE

        if self.scheme not in COARSE:
            return self
        ends = tuple(name for name in end_layers(read_network(module)) if name not in self.kept)
        return replace(self, kept=dict(self.kept) | dict.fromkeys(ends, "int8"), ends=ends)

    def cautious(self, module: tvm.IRModule, inputs: Sequence[TensorInfo]) -> Quantization:
        """With another method, if nobody asked for one, where images are drawn and not matched to any batch norm.

        A range that saturates what is rare in them is too narrow for real ones, whose magnitudes in deep layers are
        larger: there is more in them to be recognized.
        """
        from eq_tvm.passes import matched_norms

        if not (self.is_open and self.is_synthetic):
            return self
        if matched_norms(module, self.samples_of(self.synthesized, inputs)):
            return self
        return replace(self, method=UNPROVED)

    def images_each(self, inputs: Sequence[TensorInfo]) -> int:
        """How many images a sample has: the network's batch."""
        return InputForm(inputs[0], self.preprocess).count

    def samples_of(self, images: int, inputs: Sequence[TensorInfo]) -> int:
        """How many samples so many images fill, at least one."""
        return max(1, images // self.images_each(inputs))

    def reason(self, layer: str) -> str:
        """Why a layer is kept."""
        if layer in self.by_cost:
            return BY_COST
        return "the first or the last layer" if layer in self.ends else "asked for"

    @property
    def for_rows(self) -> bool:
        """Whether weights of 7 bits are rounded as convolution along rows multiplies them."""
        return self.refine == (LAYERS if self.method.endswith(REFINED) else ROWS)

    @property
    def is_random(self) -> bool:
        """Whether there is noise instead of images."""
        return str(self.calibration) == RANDOM

    @property
    def is_synthetic(self) -> bool:
        """Whether there are no images but those made from the network."""
        return str(self.calibration) == SYNTHETIC

    def widened(self, layers: Iterable[LayerRecord]) -> list[str]:
        """Those of a calibration's layers to whose activations it gave 12 bits, though nobody asked for that."""
        from eq_tvm.passes.quantized.quantizers import WIDE

        return [each.layer for each in layers if each.scheme == WIDE != self.scheme and each.layer not in self.kept]

    @property
    def options(self) -> dict[str, str]:
        """What passes want to know."""
        return {"scheme": self.scheme, "activation_range": self.activation_range}


def _scheme(model: Path, options: QuantizeOptions) -> str:
    """What was asked for; by default a quantized network's own."""
    compiles = isinstance(options, CompileOptions)
    if options.scheme == AUTO and not compiles:
        raise UserError(f"--scheme {AUTO} is what a target makes of it: analyze {ANALYZED} or int8")
    if options.scheme == "float32" or not has_scales(model):
        return options.scheme or (DEFAULT_SCHEME if compiles else ANALYZED)
    for each in options_of(type(options)):
        if each.name in _CALIBRATING and getattr(options, each.name) != each.default:
            raise UserError(
                f"{model} is quantized already, and keeps its own scales: leave out {each.flag}, or take the float32 "
                "network that it was made of"
            )
    return OWN


_CALIBRATING = {
    *("calibration", "scheme", "method", "refine", "activation_range", "images", "keep", "min_cosine", "max_drop"),
    *("synthesize", "save_images"),
}


def _as_fdda(options: QuantizeOptions, scheme: str, calibration: str, images: int) -> QuantizeOptions:
    """What it is short for."""
    if scheme == "float32":
        raise UserError(f"--method {FDDA} is for quantized networks: leave it out, or --scheme float32")
    if calibration == RANDOM:
        raise UserError(f"--method {FDDA} learns from images: leave out --calibration {RANDOM}")
    if options.refine == LAYERS:
        raise UserError(f"--method {FDDA} refines by {BLOCKS}: leave out --refine {LAYERS}, or take --method {DEFAULT}")
    more = options.synthesize if calibration == SYNTHETIC else options.synthesize or images
    return replace(options, method=DEFAULT, refine=BLOCKS, synthesize=more)


def _synthesized(options: QuantizeOptions, calibration: str, images: int) -> int:
    """How many images are to be made from the network."""
    if calibration != SYNTHETIC:
        if options.synthesize and calibration in ("None", RANDOM):
            other = "--scheme float32" if options.scheme == "float32" else f"--calibration {calibration}"
            raise UserError(f"--synthesize makes images to find scales with: leave it out, or {other}")
        if options.save_images is not None and not options.synthesize:
            raise UserError("--save-images writes synthetic images: add --synthesize N, or leave out --calibration")
        return options.synthesize or 0
    if options.images is not None and options.synthesize is not None:
        raise UserError("--images and --synthesize both say how many synthetic images there are: leave one out")
    return options.synthesize or images


def _check_refined(refine: str, scheme: str, method: str) -> None:
    if scheme == "float32":
        raise UserError(f"--refine {refine} is for quantized networks: leave it out, or --scheme float32")
    if not method.endswith(REFINED):
        raise UserError(f"--refine {refine} needs a method that refines: --method {method}{REFINED}, not {method}")
