"""What `compile` and `analyze` share: how a network is to be quantized, and the images to do it with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from eq_tvm import data as datasets
from eq_tvm import example
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.data import Dataset
from eq_tvm.errors import UserError
from eq_tvm.methods import DEFAULT
from eq_tvm.options.declared import QuantizeOptions
from eq_tvm.options.option import check_choices
from eq_tvm.preprocess import Preprocess

RANDOM = "random"  # instead of images

_HELD_OUT = 500  # images at most
_ENOUGH = 8  # of them, to tell more than the images that found the scales
_BATCH = 8  # images simulated at a time


@dataclass(frozen=True)
class Quantization:
    """How a network is to be quantized: `QuantizeOptions` with everything that they leave open decided.

    Attributes
    ----------
    calibration : str or Path
        Empty where the scheme is float32 and nothing was passed.
    kept : mapping from layers to {"int8", "float"}
    """

    model: Path
    calibration: str | Path
    preprocess: Preprocess | None
    scheme: str
    method: str
    activation_range: str
    images: int
    kept: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def checked(cls, options: QuantizeOptions) -> Quantization:
        """With what is left out filled in; UserError for what can't be."""
        model, calibration, preprocess = options.model, options.calibration, options.preprocess
        if model is None:
            model, calibration = example.MODEL, calibration or example.CALIBRATION
            preprocess = preprocess or example.PREPROCESS
        model = Path(model)
        if not model.is_file():
            raise UserError(f"no such ONNX file: {model}")
        check_choices(options)
        random = str(calibration) == RANDOM
        images = (4 if random else 50) if options.images is None else options.images
        if images < 1:
            raise UserError(f"--images must be positive, not {images}")
        scheme = options.scheme
        if scheme != "float32" and calibration is None:
            raise UserError(
                f"--scheme {scheme} needs --calibration DATA: about 50 typical images (.npz, .csv or directory); "
                "or `random` to measure speed only"
            )
        if scheme == "float32" and options.keep:
            raise UserError("--keep is for layers of quantized networks: leave it out, or --scheme float32")
        return cls(
            model=model,
            calibration="" if calibration is None else calibration,
            preprocess=Preprocess.read(preprocess) if isinstance(preprocess, str | Path) else preprocess,
            scheme=scheme,
            method=options.method or ("minmax" if random else DEFAULT),
            activation_range=options.activation_range,
            images=images,
            kept=dict(options.keep or {}),
        )

    @property
    def is_random(self) -> bool:
        """Whether there is noise instead of images."""
        return str(self.calibration) == RANDOM

    @property
    def options(self) -> dict[str, str]:
        """What passes want to know."""
        return {"scheme": self.scheme, "activation_range": self.activation_range}


@dataclass(frozen=True)
class HeldOut:
    """Calibration images that took no part in finding the scales.

    Attributes
    ----------
    indices : np.ndarray
        Their places in `dataset`.
    """

    dataset: Dataset
    indices: np.ndarray
    shape: tuple[int, ...]
    preprocess: Preprocess | None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> list[int | None]:
        """Of each image, if it has one."""
        return [None if self.dataset.labels is None else self.dataset.labels[i] for i in self.indices]

    def some(self, count: int) -> HeldOut:
        """So many of them, evenly spaced."""
        return replace(self, indices=_evenly(self.indices, count))

    def batches(self) -> Iterator[np.ndarray]:
        """Some images at a time: float32 (N, ...) without the network's batch axis."""
        for start in range(0, len(self), _BATCH):
            some = self.indices[start : start + _BATCH]
            yield np.concatenate([self.dataset.input(i, self.shape, self.preprocess) for i in some])


def read_images(how: Quantization, inputs: tuple[TensorInfo, ...]) -> tuple[list[np.ndarray], HeldOut | None]:
    """The images to find scales with, and those left over.

    Returns
    -------
    list of np.ndarray
        For each input float32 (N, ...): N images without the network's batch axis, evenly spaced over those there are.
    HeldOut, optional
        At most 500 of the others, evenly spaced; None where there are no images, but noise.
    """
    for info in inputs:
        if info.shape[:1] != (1,):
            raise UserError(f"input {info.name} has the shape {info.shape}: only batch 1 can be quantized")
    if how.is_random:
        return [_random_images(info.shape[1:], how.preprocess, how.images) for info in inputs], None
    if len(inputs) != 1:
        names = ", ".join(info.name for info in inputs)
        raise UserError(f"the network has {len(inputs)} inputs ({names}): images can calibrate networks with one only")
    dataset, shape = datasets.read(how.calibration), inputs[0].shape
    chosen = _evenly(np.arange(len(dataset)), how.images)
    rest = _evenly(np.setdiff1d(np.arange(len(dataset)), chosen), _HELD_OUT)
    images = np.concatenate([dataset.input(i, shape, how.preprocess) for i in chosen])
    return [images], HeldOut(dataset, rest, shape, how.preprocess)


def images_to_analyze(
    held_out: HeldOut | None, calibrated_on: dict[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """By the input's name, so many of the images left over, or those that found the scales where hardly any are."""
    if held_out is None or len(held_out) < _ENOUGH:
        return calibrated_on
    return dict.fromkeys(calibrated_on, np.concatenate(list(held_out.some(count).batches())))


def _evenly(indices: np.ndarray, count: int) -> np.ndarray:
    return indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)]


def _random_images(shape: tuple[int, ...], preprocess: Preprocess | None, count: int) -> np.ndarray:
    """Seeded noise: pixels if they can be preprocessed, else a normal distribution."""
    random = np.random.default_rng(0)
    if preprocess is None:
        return random.standard_normal((count, *shape), dtype=np.float32)
    pixels = random.integers(0, 256, (count, *shape[1:], 3), dtype=np.uint8)
    return np.stack([preprocess(image) for image in pixels])
