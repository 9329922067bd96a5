"""From the pixels of an image to the network's input."""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eq_tvm.errors import UserError
from eq_tvm.files.yaml_file import read_yaml

LAYOUTS = ("NCHW", "NHWC")
CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}  # and how many they are


@dataclass(frozen=True)
class Preprocess:
    """``(pixel - mean) / std`` on pixels 0..255, after an optional bilinear resize.

    Parameters
    ----------
    channels : str
        ``RGB``, ``BGR`` or ``GRAY``: the network's channels and their order.
    mean, std : tuple of float
        One number per channel, in that order, in units of 0..255.
    resize : (int, int), optional
        Height and width that every image is resized to (bilinear as Pillow does it).
    layout : str, optional
        ``NCHW`` or ``NHWC``: the axes of the input. By default what the network's shape says.
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, int] | None = None
    layout: str | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Turn a uint8 image (H, W, 3 RGB or 1 grey) into the float32 input (C, H, W); (H, W, C) for ``NHWC``."""
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        picture = picture.convert("L" if self.channels == "GRAY" else "RGB")
        if self.resize:
            height, width = self.resize
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.atleast_3d(np.asarray(picture, dtype=np.float32))
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        normalized = self._normalized(pixels)
        return np.ascontiguousarray(normalized if self.layout == "NHWC" else normalized.transpose(2, 0, 1))

    def _normalized(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    @classmethod
    def read(cls, path: str | Path) -> Preprocess:
        """Read a YAML file with ``channels``, ``mean``, ``std``, and perhaps ``resize`` and ``layout``.

        Raises
        ------
        UserError
            Not such a file, or `mean` and `std` are those of pixels from 0 to 1.
        """
        source = f"preprocessing {path}"
        preprocess = cls.from_dict(read_yaml(path, "preprocessing"), source)
        preprocess._check_units(source)
        return preprocess

    @classmethod
    def from_dict(cls, values: Any, source: str = "preprocessing") -> Preprocess:
        """Make one from a mapping as in the YAML file; `source` names it in messages (`UserError`)."""
        known = "channels, mean, std, resize, layout"
        if not isinstance(values, dict):
            raise UserError(f"{source} must be a mapping with the keys {known}")
        if unknown := [key for key in values if key not in known.split(", ")]:
            raise UserError(f"{source} has the unknown key {unknown[0]}; there are: {known}")
        if missing := [key for key in ("channels", "mean", "std") if key not in values]:
            raise UserError(f"{source} lacks {', '.join(missing)}; it needs channels, mean and std")
        channels, resize, layout = values["channels"], values.get("resize"), values.get("layout")
        if not isinstance(channels, str) or channels not in CHANNELS:
            raise UserError(f"{source}: channels must be one of {', '.join(CHANNELS)}, not {_short(channels)}")
        for key in ("mean", "std"):
            numbers = values[key]
            if not _is_list(numbers, (int, float), CHANNELS[channels]):
                raise UserError(f"{source}: {key} must be one number per channel of {channels}, not {_short(numbers)}")
            if key == "std" and 0 in numbers:
                raise UserError(f"{source}: std must have no 0, as pixels are divided by it, but is {numbers!r}")
        if resize is not None and not (_is_list(resize, int, 2) and min(resize) > 0):
            raise UserError(f"{source}: resize must be [height, width], not {_short(resize)}")
        if layout not in (None, *LAYOUTS):
            raise UserError(f"{source}: layout must be one of {', '.join(LAYOUTS)}, not {_short(layout)}")
        mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
        preprocess = cls(channels, mean, std, resize and tuple(resize), layout)
        with np.errstate(all="ignore"):
            ends = preprocess._normalized(np.array([[0.0], [255.0]], np.float32))
        if not np.isfinite(ends).all():
            raise UserError(f"{source}: mean {mean} and std {std} make numbers that float32 can't hold")
        return preprocess

    def _check_units(self, source: str) -> None:
        """Refuse the means and deviations that other tools take, of pixels from 0 to 1."""
        if max(map(abs, self.mean)) > 1 or max(map(abs, self.std)) >= 1:
            return
        mean, std = ([round(255 * number, 3) for number in numbers] for numbers in (self.mean, self.std))
        raise UserError(
            f"{source}: mean and std are those of pixels from 0 to 1, but pixels are from 0 to 255 here: "
            f"write mean: {mean} and std: {std}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The mapping that `from_dict` takes."""
        return asdict(self)


def _is_list(value: Any, kind: Any, length: int) -> bool:
    """Whether it has so many numbers, which float32 holds."""
    return isinstance(value, list | tuple) and len(value) == length and all(_is_number(v, kind) for v in value)


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and abs(value) <= _LARGEST


_LARGEST = float(np.finfo(np.float32).max)
_short = reprlib.repr
