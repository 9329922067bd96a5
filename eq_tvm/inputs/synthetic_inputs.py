"""Inputs of a network that a program makes, where nobody has any."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import make_folder, write_whole
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.inputs.number_kind import number_kind
from eq_tvm.inputs.random_inputs import random_numbers
from eq_tvm.preprocess import Preprocess

_MIDDLE, _SPREAD = 0.45, 0.28  # about the mean and the deviation of what is drawn


@dataclass(frozen=True)
class Synthetic:
    """An input of a network: samples, and what numbers it may have.

    Attributes
    ----------
    form : InputForm
    array : np.ndarray
        (N, ...) in the input's dtype, without the network's batch axis where that is 1.
    black, white : np.ndarray, optional
        What the darkest and the brightest pixel become, as they are broadcast to a sample. None where nothing says how
        pixels become numbers, and where the input takes no images.
    """

    form: InputForm
    array: np.ndarray
    black: np.ndarray | None = None
    white: np.ndarray | None = None

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The least and the greatest number, if that is known."""
        if self.black is None or self.white is None:
            return None
        return np.minimum(self.black, self.white), np.maximum(self.black, self.white)

    def with_array(self, array: np.ndarray) -> Synthetic:
        """With other numbers."""
        return Synthetic(self.form, array, self.black, self.white)


def synthetic_inputs(
    inputs: Sequence[TensorInfo], preprocess: Preprocess | None, count: int, seed: int = 0
) -> list[Synthetic]:
    """So many samples of each input: images drawn by a program where it takes images or maps of features, else noise.

    Where preprocessing is given, they are pixels; without it, and for maps of features, numbers of about mean 0 and
    deviation 1, as networks are mostly trained on.
    """
    rng = np.random.default_rng(seed)
    return [_synthetic(InputForm(info, preprocess), count, rng) for info in inputs]


def _synthetic(form: InputForm, count: int, rng: np.random.Generator) -> Synthetic:
    from eq_tvm.passes import procedural_images

    info = form.info
    seed = int(rng.integers(2**31))
    if _takes_pixels(form):
        height, width = form.image_size or (1, 1)
        drawn = procedural_images(count * form.count, 1 if form.is_grey else 3, height, width, seed)
        pixels = np.rint(255 * drawn.transpose(0, 2, 3, 1)).astype(np.uint8)
        black, white = (_run(form, np.full_like(pixels[: form.count], level)) for level in (0, 255))
        runs = [_run(form, pixels[i : i + form.count]) for i in range(0, len(pixels), form.count)]
        return Synthetic(form, np.stack(runs), black, white)
    if _takes_features(info):
        layout = form.layout or "NCHW"
        batch, channels, height, width = (info.shape[layout.index(axis)] for axis in "NCHW")
        drawn = (procedural_images(count * batch, channels, height, width, seed) - _MIDDLE) / _SPREAD
        drawn = drawn if layout == "NCHW" else drawn.transpose(0, 2, 3, 1)
        return Synthetic(form, _without_batch(drawn.reshape(count, *info.shape), axis=1).astype(info.dtype))
    return Synthetic(form, _without_batch(random_numbers(rng, (count, *info.shape), info.dtype), axis=1))


def noise_of(inputs: Sequence[TensorInfo], preprocess: Preprocess | None) -> list[str]:
    """The names of inputs that get noise, as nothing is known of what is typical: of vectors, words and sounds."""
    forms = (InputForm(info, preprocess) for info in inputs)
    return [form.info.name for form in forms if not (_takes_pixels(form) or _takes_features(form.info))]


def _takes_pixels(form: InputForm) -> bool:
    return form.layout is not None and (form.preprocess is not None or form.info.dtype == "uint8")


def _takes_features(info: TensorInfo) -> bool:
    return number_kind(info.dtype) == "f" and len(info.shape) == 4


def _run(form: InputForm, pixels: np.ndarray) -> np.ndarray:
    """What one run takes, of as many images."""
    return _without_batch(form.joined([form.item(image, "a synthetic image") for image in pixels]))


def _without_batch(array: np.ndarray, axis: int = 0) -> np.ndarray:
    return array.squeeze(axis) if array.shape[axis : axis + 1] == (1,) else array


def places(inputs: Sequence[Synthetic], folder: str | Path) -> list[list[Path]]:
    """Where `save_images` writes, of each input that takes images; the folder is made if it is not there.

    Raises
    ------
    UserError
        No input takes images of one or three channels, no file can be put there, or one there is of somebody else.
    """
    shown, folder = _shown(inputs), Path(folder)
    if not shown:
        raise UserError("--save-images: no input of the network takes images of 1 or 3 channels: leave it out")
    make_folder(folder, "images", "--save-images")
    with system_errors(f"write to the directory {folder}"):
        prefixes = [f"{each.form.info.name}-".replace("/", "_") if len(shown) > 1 else "" for each in shown]
        found = [
            [folder / f"{prefix}{number:03}.png" for number in range(len(each.array) * each.form.count)]
            for prefix, each in zip(prefixes, shown, strict=True)
        ]
        for path in itertools.chain(*found):
            if os.path.lexists(path) and not _is_ours(path):
                raise UserError(f"--save-images would replace {path}, which is none of its own: choose another folder")
    return found


def save_images(inputs: Sequence[Synthetic], folder: str | Path) -> int:
    """Write images as PNG, to be looked at; how many there are.

    In the order of `inputs`, of each input's numbers those from the darkest to the brightest as 0 to 255. Files that it
    wrote before are replaced.

    Raises
    ------
    UserError
        As `places`.
    """
    mark, found = PngInfo(), places(inputs, folder)
    mark.add_text(*_MARK)
    with system_errors(f"write to the directory {folder}"):
        for each, paths in zip(_shown(inputs), found, strict=True):
            for path, picture in zip(paths, _pictures(each), strict=True):
                write_whole(path, partial(Image.fromarray(picture).save, format="PNG", pnginfo=mark))
    return sum(map(len, found))


_MARK = ("Software", "eq_tvm --save-images")


def _shown(inputs: Sequence[Synthetic]) -> list[Synthetic]:
    return [each for each in inputs if each.form.layout]


def _is_ours(path: Path) -> bool:
    """Whether `save_images` wrote a file."""
    try:
        with Image.open(path) as image:
            return image.info.get(_MARK[0]) == _MARK[1]
    except (OSError, ValueError):  # no image
        return False


def _pictures(synthetic: Synthetic) -> np.ndarray:
    """uint8 (N, H, W, 3), or (N, H, W) of grey."""
    x, form = synthetic.array.astype(np.float64), synthetic.form
    if synthetic.black is not None and synthetic.white is not None:
        black, white = synthetic.black.astype(np.float64), synthetic.white.astype(np.float64)
    else:
        black, white = np.quantile(x, [0.001, 0.999])
    levels = (x - black) / np.where(white == black, 1, white - black)
    pixels = np.rint(255 * np.clip(levels, 0, 1)).astype(np.uint8).reshape(-1, *form.item_shape)
    pixels = pixels if form.layout == "NHWC" else pixels.transpose(0, 2, 3, 1)
    if form.is_grey:
        return pixels[..., 0]
    return pixels[..., ::-1] if form.steps.channels == "BGR" else pixels
