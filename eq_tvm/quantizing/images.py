"""The images that find scales, and those left over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.inputs.random_inputs import random_numbers
from eq_tvm.inputs.samples import Samples
from eq_tvm.quantizing.quantization import Quantization
from eq_tvm.quantizing.synthetic import synthesize

if TYPE_CHECKING:
    import tvm

    from eq_tvm.passes import Progress

_HELD_OUT = 500  # samples at most
_ENOUGH = 8  # of them, to tell more than the samples that found the scales
_BATCH = 8  # samples simulated at a time
_COMPARED = 8  # samples that methods are compared on


@dataclass(frozen=True)
class HeldOut:
    """Calibration samples that took no part in finding the scales.

    Attributes
    ----------
    samples : Samples
        All of them.
    indices : np.ndarray
        The places in it of those that took no part.
    """

    samples: Samples
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def images(self) -> int:
        """How many images they are."""
        return len(self) * self.samples.images_each

    @property
    def labels(self) -> list[np.ndarray | None]:
        """For each sample those of its images, if they have any."""
        return [self.samples.labels(i) for i in self.indices]

    def some(self, count: int) -> HeldOut:
        """So many of them, evenly spaced."""
        return replace(self, indices=_evenly(self.indices, count))

    def batches(self) -> Iterator[list[np.ndarray]]:
        """Some samples at a time: arrays as `read_images` returns them."""
        for start in range(0, len(self), _BATCH):
            yield _stacked(self.samples, self.indices[start : start + _BATCH])


def read_images(
    how: Quantization,
    inputs: tuple[TensorInfo, ...],
    module: tvm.IRModule | None = None,
    progress: Progress = lambda done, message: None,
) -> tuple[list[np.ndarray], HeldOut | None]:
    """The samples to find scales with, and those left over.

    Parameters
    ----------
    how : Quantization
    inputs : tuple of TensorInfo
    module : tvm.IRModule, optional
        Canonical: what synthetic images are made from. Without it there are none.
    progress : callable (done 0..1, message)

    Returns
    -------
    list of np.ndarray
        For each input the N samples that have so many images, evenly spaced over those there are, in the input's dtype:
        (N, ...) without the network's batch axis where that is 1, else (N, *shape).
    HeldOut, optional
        At most 500 of the others, evenly spaced; None where there are no images, but noise.
    """
    if how.is_random:
        return _noise(how, inputs), None

    def made(typical: list[np.ndarray] | None) -> list[np.ndarray]:
        if not how.synthesized or module is None:
            return []
        count = how.samples_of(how.synthesized, inputs)
        return synthesize(module, inputs, how.preprocess, count, how.save_images, progress, typical)

    if how.is_synthetic:
        return made(None) or _noise(how, inputs), None
    samples = Samples.read(how.calibration, inputs, how.preprocess)
    chosen = _evenly(np.arange(len(samples)), how.samples_of(how.images, inputs))
    rest = _evenly(np.setdiff1d(np.arange(len(samples)), chosen), _HELD_OUT)
    found = _stacked(samples, chosen)
    if others := made(found):
        found = [np.concatenate(both) for both in zip(found, others, strict=True)]
    return found, HeldOut(samples, rest)


def images_in(arrays: list[np.ndarray], how: Quantization, inputs: tuple[TensorInfo, ...]) -> int:
    """How many images the samples have that `read_images` gave to find scales."""
    return len(arrays[0]) * how.images_each(inputs)


def one_sample(how: Quantization, inputs: tuple[TensorInfo, ...]) -> dict[str, np.ndarray]:
    """One input of the network, by name, in its full shape: of the calibration data where there is some, else noise."""
    one = replace(how, images=1)
    arrays, _ = read_images(one, inputs) if how.calibration else (_noise(one, inputs), None)
    return {info.name: np.asarray(array[0]).reshape(info.shape) for info, array in zip(inputs, arrays, strict=True)}


def images_to_analyze(
    held_out: HeldOut | None, calibrated_on: dict[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """By the inputs' names, so many of the samples left over, or those that found the scales where hardly any are."""
    if held_out is None or len(held_out) < _ENOUGH:
        return calibrated_on
    batches = zip(*held_out.some(count).batches(), strict=True)
    return dict(zip(calibrated_on, map(np.concatenate, batches), strict=True))


def images_to_compare(held_out: HeldOut | None, calibrated_on: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Few samples, which tell one method from another."""
    return {name: x[:_COMPARED] for name, x in images_to_analyze(held_out, calibrated_on, _COMPARED).items()}


def _evenly(indices: np.ndarray, count: int) -> np.ndarray:
    return indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)]


def _stacked(samples: Samples, indices: np.ndarray) -> list[np.ndarray]:
    """For each input, the arrays of some samples."""
    runs = [samples[i] for i in indices]
    return [np.stack([_without_batch(run[form.info.name]) for run in runs]) for form, _ in samples.parts]


def _noise(how: Quantization, inputs: tuple[TensorInfo, ...]) -> list[np.ndarray]:
    """Seeded samples for each input: pixels where they can be preprocessed, else a normal distribution."""
    random = np.random.default_rng(0)
    arrays, count = [], how.samples_of(how.images, inputs)
    for info in inputs:
        form = InputForm(info, how.preprocess)
        if how.preprocess is None or not form.layout:
            shape = _without_batch(np.empty(info.shape)).shape
            arrays.append(random_numbers(random, (count, *shape), info.dtype))
            continue
        height, width = (info.shape[form.layout.index(axis)] for axis in "HW")
        pixels = random.integers(0, 256, (count * form.count, height, width, 3), dtype=np.uint8)
        items = [form.item(image, "--calibration random") for image in pixels]
        runs = [form.joined(items[i : i + form.count]) for i in range(0, len(items), form.count)]
        arrays.append(np.stack(list(map(_without_batch, runs))))
    return arrays


def _without_batch(array: np.ndarray) -> np.ndarray:
    return array[0] if array.shape[:1] == (1,) else array
