"""The options of `compile` and `analyze`: functions of Python and commands alike."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eq_tvm.errors import UserError
from eq_tvm.files.regular_file import open_file
from eq_tvm.methods import BLOCKS, CHOICES, DEFAULT, FDDA, HELP, LAYERS, REFINED, REFINEMENTS, UNPROVED
from eq_tvm.options.option import option

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.nn import Module

    from eq_tvm.passes import Progress
    from eq_tvm.preprocess import Preprocess

MIN_COSINES = {"int8": 0.995}  # others: 0
AUTO = "auto"  # of each layer what costs no time on the target
SCHEMES = (AUTO, "int4", "w4a8", "int5", "int6", "int7", "w8a7", "w7a8", "int8", "w8a12", "float32")
DEFAULT_SCHEME = AUTO
SEARCHES = ("knapsack", "greedy")
SENSITIVITIES = ("outputs", "nuclear")
LAYER_TYPES = "LAYER=int8|w8a12|...|float"
ANALYZED = "int7"  # by default, where there is no target


def kept_layers(texts: list[str]) -> dict[str, str]:
    """From ``LAYER=int8`` to the layer and its type."""
    parts = [text.rpartition("=") for text in texts]
    for text, (layer, _, _) in zip(texts, parts, strict=True):
        if not layer:
            raise UserError(f"--keep must look like LAYER=int8, LAYER=w8a12 or LAYER=float, not {text}")
    return {layer: kind for layer, _, kind in parts}


def _named_shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """From `NAME=1,3,224,224` each."""
    return dict(map(_named_shape, texts))


def _named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or not 0 < min(shape) <= max(shape) < 2**31:
        raise UserError(f"--input must look like NAME=1,3,224,224, not {text}")
    return name, shape


def _named_values(texts: list[str]) -> dict[str, Any]:
    """From `NAME=VALUE` each, of numbers or the name of an .npy file."""
    return dict(map(_named_value, texts))


def _named_value(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if name and value.endswith(".npy"):
        try:
            with open_file(value) as file:
                return name, np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as e:
            raise UserError(f"--constant {name}: can't read {value}: {' '.join(str(e).split())}") from e
    words = [word.strip() for word in value.strip("[]() ").split(",")]
    try:
        numbers = [_WORDS[word.lower()] if word.lower() in _WORDS else ast.literal_eval(word) for word in words]
        array = np.array(numbers if len(words) > 1 or value.startswith("[") else numbers[0])
    except (ValueError, SyntaxError):
        array = np.array(None)
    if not name or array.dtype.kind not in "biuf":
        raise UserError(f"--constant must look like NAME=16000, NAME=1,3,20,20 or NAME=values.npy, not {text}")
    return name, array


_WORDS = {"true": True, "false": False, "inf": float("inf"), "-inf": -float("inf")}


# Options that several commands take.
keep_option = partial(
    option,
    "Give a layer, as analyze names it, another type than the scheme's.",
    given_as=list,
    metavar=LAYER_TYPES,
    parse=kept_layers,
)
input_option = partial(
    option,
    "Shape of an input where it is dynamic; a dynamic batch alone becomes 1 by itself.",
    flag="--input",
    given_as=list,
    metavar="NAME=1,3,224,224",
    parse=_named_shapes,
)
constant_option = partial(
    option,
    "Give an input a value for good, where it decides shapes or branches: numbers, or an .npy file.",
    flag="--constant",
    given_as=list,
    metavar="NAME=VALUE",
    parse=_named_values,
)


@dataclass(frozen=True)
class QuantizeOptions:
    """How a network is to be quantized: what `eq_tvm.analysis.analyze` takes, and `eq_tvm.compile` as well."""

    model: str | Path | Module | ExportedProgram | None = option(
        "A file of ONNX, PyTorch (.pt2), TensorFlow Lite (.tflite) or Relay (.relay, .txt, .json).",
        flag="",
        metavar="MODEL",
        also=("Module", "ExportedProgram"),
        unset="an embedded example, with its own images and preprocessing",
    )
    _: KW_ONLY
    calibration: str | Path | None = option(
        "Typical images, to find the scales: an .npz (images), a .csv (file,label) or a directory. Or a word. "
        "synthetic: images made from the network itself; random: scales for measuring speed only.",
        metavar="DATA",
        unset="synthetic",
    )
    synthesize: int | None = option(
        "How many images to make from the network: with --calibration DATA beside those there.",
        given_as=int,
        metavar="N",
        unset="50 where there are no others",
    )
    save_images: str | Path | None = option("Write the images made from the network there, as PNG.", metavar="DIR")
    preprocess: Preprocess | str | Path | None = option(
        "From pixels to the input: YAML with channels, mean, std, resize. The bundle keeps it.",
        metavar="FILE",
        also=("Preprocess",),
    )
    scheme: str | None = option(
        "What the layers compute in.",
        given_as=str,
        choices=SCHEMES,
        unset=f"{DEFAULT_SCHEME}, of each layer the most exact type that costs no time on the target; analyze: "
        f"{ANALYZED}; of a quantized network (QDQ): its own integers, by its own scales",
    )
    method: str | None = option(
        f"How the scales are found. {HELP}",
        given_as=str,
        metavar="NAME",
        choices=CHOICES,
        unset=f"{DEFAULT}; of synthetic images that match no batch norms: {UNPROVED}; random: minmax",
    )
    refine: str | None = option(
        f"By what a method with {REFINED} rounds weights: the error of each layer's output, in seconds; or of each "
        "residual block's, learned in minutes, for less than 7 bits.",
        given_as=str,
        choices=REFINEMENTS,
        unset=f"{LAYERS}; with --method {FDDA}: {BLOCKS}",
    )
    activation_range: str = option(
        "Whether what is never (or seldom) negative uses a range from (or near) 0, of all values that the scheme has.",
        "unsigned",
        given_as=str,
        choices=("unsigned", "symmetric"),
    )
    images: int | None = option(
        "How many calibration images to use, evenly spaced over those there are; by default fewer of large ones.",
        given_as=int,
        metavar="N",
        unset="50; random: 4",
    )
    keep: Mapping[str, str] | None = keep_option()
    input_shapes: Mapping[str, tuple[int, ...]] | None = input_option()
    constants: Mapping[str, Any] | None = constant_option()
    progress: Progress | None = None
    example: Any = None  # inputs of a torch.nn.Module: a tensor, or a tuple of what it takes


@dataclass(frozen=True, kw_only=True)
class TargetsOptions:
    """Where targets are looked up."""

    targets_file: str | Path | None = option(
        "Targets of your own, in the form of targets.yaml.", flag="--targets", metavar="FILE"
    )


@dataclass(frozen=True, kw_only=True)
class CompileOptions(TargetsOptions, QuantizeOptions):
    """What `eq_tvm.compile` takes."""

    target: str = option("For which machine (see: targets).", "native", given_as=str, metavar="NAME")
    min_cosine: float | None = option(
        "How near to float32 each output has to stay, masks and sequences by their overlap: where one does not, "
        "as few activations as that takes get 12 bits, which makes their layers slower. 0: none do.",
        given_as=float,
        metavar="COSINE",
        unset=", ".join(f"{scheme}: {cosine}" for scheme, cosine in MIN_COSINES.items()),
    )
    requantize: bool = option(
        "Of a quantized network: give layers whose weights take more than 8 bits without their zero point new scales.",
        False,
        given_as=bool,
    )
    max_drop: float | None = option(
        "Lose no more, in points of top-1 accuracy or, without labels, of agreement with float32, on the calibration "
        "images that find no scales: with --scheme auto the fastest types that do, else the worst layers kept wider.",
        given_as=float,
        metavar="POINTS",
    )
    speed: float | None = option(
        "With --scheme auto: the most exact types that are so many times as fast as INT8 everywhere, by estimate.",
        given_as=float,
        metavar="TIMES",
    )
    within_ms: float | None = option(
        "With --scheme auto: the most exact types with which a run on one core takes no longer; measured where the "
        "target is this machine, else by the target's clock (ghz) and estimated cycles.",
        given_as=float,
        metavar="MS",
    )
    search: str = option(
        "With --scheme auto: how types are searched for. knapsack: by what each layer costs and loses; greedy: by "
        "trying each layer in turn, as HAGO does.",
        SEARCHES[0],
        given_as=str,
        choices=SEARCHES,
    )
    sensitivity: str = option(
        "With --scheme auto: what a layer loses. outputs: what it does to the network's outputs; nuclear: the error of "
        "its own, times that output's nuclear norm.",
        SENSITIVITIES[0],
        given_as=str,
        choices=SENSITIVITIES,
    )
    output: str | Path | None = option(
        "The directory to write.",
        metavar="DIR",
        unset="MODEL-TARGET.eqtvm, or MODEL-TARGET-SCHEME.eqtvm with --scheme; standalone: without .eqtvm",
    )
    artifact: str = option(
        "What to write; standalone: a shared object and a C header, without TVM.",
        "bundle",
        given_as=str,
        choices=("bundle", "standalone"),
    )
    optimize: str = option(
        "What kernels are chosen for: size leaves out those that enlarge the weights.",
        "speed",
        given_as=str,
        choices=("speed", "size"),
    )
    report: bool = option(
        "Write a page that shows what was compiled, too, beside the bundle: MODEL-TARGET.html (see: report).",
        False,
        given_as=bool,
    )
    verify: bool | None = option(
        "Compare the imported network with ONNX Runtime, if that is installed, or onnx's reference evaluator.",
        flag="--verify/--no-verify",
        given_as=bool,
        unset="where it takes a few seconds at most",
    )
    dump_passes: str | Path | None = option("Write the module after each phase there.", metavar="DIR")
    tune: bool = option(
        "Choose kernels by measuring them, here or on boards: takes minutes, and is remembered.", False, given_as=bool
    )
    rpc: str | None = option(
        "With --tune: measure on the board where TVM's RPC server listens there.", given_as=str, metavar="HOST:PORT"
    )
    tracker: str | None = option(
        "With --tune: measure on boards that TVM's RPC tracker there knows.", given_as=str, metavar="HOST:PORT"
    )
    key: str | None = option("With --tracker: the kind of boards, such as rpi4.", given_as=str, metavar="NAME")
    boards: int | None = option(
        "With --tracker: on how many boards at most.", given_as=int, metavar="N", unset="all that are free"
    )
    tuning_file: str | Path | None = option(
        "What --tune has measured; used without it, too.", metavar="FILE", unset="~/.cache/eq_tvm/tuning.json"
    )
