"""The options of `train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eq_tvm.options.declared import SCHEMES, TargetsOptions, constant_option, input_option, keep_option
from eq_tvm.options.option import option

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.nn import Module

    from eq_tvm.passes import Progress
    from eq_tvm.preprocess import Preprocess

TRAINED = tuple(scheme for scheme in SCHEMES if scheme not in ("auto", "float32"))
QUANTIZERS = ("lsq", "srq")


@dataclass(frozen=True)
class TrainOptions(TargetsOptions):
    """What `eq_tvm.train.train` takes."""

    model: str | Path | Module | ExportedProgram | None = option(
        "A float network: a file as compile takes.",
        flag="",
        metavar="MODEL",
        also=("Module", "ExportedProgram"),
        unset="an embedded example, with its own images and preprocessing",
    )
    _: KW_ONLY
    images: str | Path | None = option(
        "What to train on: an .npz (images), a .csv (file,label) or a directory. Labels are not needed.",
        metavar="DATA",
        unset="an error, but for the example: there is no training without images",
    )
    preprocess: Preprocess | str | Path | None = option(
        "From pixels to the input: YAML with channels, mean, std, resize.", metavar="FILE", also=("Preprocess",)
    )
    scheme: str = option("What the layers compute in.", "int4", given_as=str, choices=TRAINED)
    keep: Mapping[str, str] | None = keep_option()
    input_shapes: Mapping[str, tuple[int, ...]] | None = input_option()
    constants: Mapping[str, Any] | None = constant_option()
    epochs: float = option("How often each image is seen; 0.5: half of them once.", 3.0, given_as=float, metavar="N")
    labels: bool = option("Learn from the images' labels as well as from the float network.", False, given_as=bool)
    quantizer: str = option(
        "How weights learn through rounding. lsq: as if it were not there, with learned scales; srq: by the "
        "probability that a weight with noise is where it is rounded to.",
        QUANTIZERS[0],
        given_as=str,
        choices=QUANTIZERS,
    )
    drop_bits: bool = option(
        "Leave out the last bit of layers' weights at random while training.", False, given_as=bool
    )
    mean_bits: float | None = option(
        "Learn how many bits the weights of each layer have, from 2 to 8, for the price of so many everywhere.",
        given_as=float,
        metavar="BITS",
        unset="as the scheme has them",
    )
    target: str | None = option(
        "With --mean-bits: the price of bits is what layers take on that machine, by estimate.",
        given_as=str,
        metavar="NAME",
        unset="the size of weights",
    )
    augment: bool = option(
        "Shift images by up to an eighth of their size, and mirror every second one.",
        True,
        flag="--augment/--no-augment",
        given_as=bool,
    )
    batch: int = option("How many images there are in a step.", 64, given_as=int, metavar="N")
    learning_rate: float = option("Of weights, at its greatest.", 3e-4, given_as=float, metavar="RATE")
    seed: int = option("Another one gives another order of images.", 0, given_as=int, metavar="N")
    output: str | Path | None = option(
        "The file to write, with the integers in it.", metavar="FILE.onnx", unset="MODEL.trained.onnx"
    )
    progress: Progress | None = None
    example: Any = None  # inputs of a torch.nn.Module: a tensor, or a tuple of what it takes
