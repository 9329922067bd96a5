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
    """``(pixel - mean) / std`` on pixels 0..255, after the image was brought to the network's size.

    Parameters
    ----------
    channels : str
        ``RGB``, ``BGR`` or ``GRAY``: the network's channels and their order.
    mean, std : tuple of float
        One number per channel, in that order, in units of 0..255.
    resize : (int, int) or int, optional
        Height and width that every image is resized to, whatever its own are (bilinear as Pillow does it); or the
        length of its shorter side, which keeps them in proportion.
    crop : (int, int), optional
        Height and width of the middle that is cut out then.
    letterbox : (int, int), optional
        Instead of both: height and width into which the image is fitted in proportion, with grey bars at two ends, as
        detectors of the YOLO family are trained.
    layout : str, optional
        ``NCHW`` or ``NHWC``: the axes of the input. By default what the network's shape says.
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, int] | int | None = None
    layout: str | None = None
    crop: tuple[int, int] | None = None
    letterbox: tuple[int, int] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Turn a uint8 image (H, W, 3 RGB or 1 grey) into the float32 input (C, H, W); (H, W, C) for ``NHWC``."""
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        picture = picture.convert("L" if self.channels == "GRAY" else "RGB")
        placement = self.placement(picture.height, picture.width)
        pixels = np.atleast_3d(np.asarray(placement.placed(picture), dtype=np.float32))
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        normalized = self._normalized(pixels)
        return np.ascontiguousarray(normalized if self.layout == "NHWC" else normalized.transpose(2, 0, 1))

    def placement(self, height: int, width: int) -> Placement:
        """Where an image of that size goes in the network's input."""
        if self.letterbox:
            return _letterboxed((height, width), self.letterbox)
        scaled = height, width
        if isinstance(self.resize, int):
            shorter = min(height, width)
            scaled = max(1, self.resize * height // shorter), max(1, self.resize * width // shorter)
        elif self.resize:
            scaled = self.resize
        if not self.crop:
            return Placement((height, width), scaled, scaled)
        top, left = (round((a - b) / 2) for a, b in zip(scaled, self.crop, strict=True))
        return Placement((height, width), scaled, self.crop, (-top, -left))

    def _normalized(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    @classmethod
    def read(cls, path: str | Path) -> Preprocess:
        """Read a YAML file with ``channels``, ``mean``, ``std``, and perhaps the other fields.

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
        known = "channels, mean, std, resize, crop, letterbox, layout"
        if not isinstance(values, dict):
            raise UserError(f"{source} must be a mapping with the keys {known}")
        if unknown := [key for key in values if key not in known.split(", ")]:
            raise UserError(f"{source} has the unknown key {unknown[0]}; there are: {known}")
        if missing := [key for key in ("channels", "mean", "std") if key not in values]:
            raise UserError(f"{source} lacks {', '.join(missing)}; it needs channels, mean and std")
        channels, layout = values["channels"], values.get("layout")
        if not isinstance(channels, str) or channels not in CHANNELS:
            raise UserError(f"{source}: channels must be one of {', '.join(CHANNELS)}, not {_short(channels)}")
        for key in ("mean", "std"):
            numbers = values[key]
            if not _is_list(numbers, (int, float), CHANNELS[channels]):
                raise UserError(f"{source}: {key} must be one number per channel of {channels}, not {_short(numbers)}")
            if key == "std" and 0 in numbers:
                raise UserError(f"{source}: std must have no 0, as pixels are divided by it, but is {numbers!r}")
        if layout not in (None, *LAYOUTS):
            raise UserError(f"{source}: layout must be one of {', '.join(LAYOUTS)}, not {_short(layout)}")
        mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
        preprocess = cls(channels, mean, std, layout=layout, **_sizes(values, source))
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

    @property
    def sized(self) -> str:
        """In words how images come to the network's size; empty where they have it."""
        if self.letterbox:
            return f"fitted into {self.letterbox[0]} x {self.letterbox[1]} with bars of grey {BAR}"
        words = []
        if isinstance(self.resize, int):
            words.append(f"resized to a shorter side of {self.resize}")
        elif self.resize:
            words.append(f"resized to {self.resize[0]} x {self.resize[1]}")
        if self.crop:
            words.append(f"cropped to the {self.crop[0]} x {self.crop[1]} in the middle")
        return ", ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """The mapping that `from_dict` takes."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Placement:
    """How an image is brought to a network's size, and back.

    Attributes
    ----------
    image : (int, int)
        Height and width of the image.
    scaled : (int, int)
        Those that it is resized to.
    size : (int, int)
        Those of the network's input.
    offset : (int, int)
        Rows and columns by which it is moved there; what lies outside is cut off, and what stays free is grey.
    """

    image: tuple[int, int]
    scaled: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    def placed(self, picture: Image.Image) -> Image.Image:
        """The picture in the network's size."""
        if self.scaled != (picture.height, picture.width):
            picture = picture.resize(self.scaled[::-1], Image.Resampling.BILINEAR)
        if self.scaled == self.size:
            return picture
        ground = Image.new(picture.mode, self.size[::-1], BAR if picture.mode == "L" else (BAR,) * 3)
        ground.paste(picture, self.offset[::-1])
        return ground

    def corners_in_image(self, corners: np.ndarray) -> np.ndarray:
        """Left, top, right and bottom (N, 4), of pixels of the network's input, in those of the image."""
        y, x = (whole / scaled for whole, scaled in zip(self.image, self.scaled, strict=True))
        moved: np.ndarray = corners - np.array([*self.offset[::-1]] * 2)
        return moved * np.array([x, y, x, y])

    def places_in_map(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """For rows and columns of the image the nearest ones of a map of the network's input; -1 outside of it."""
        found = []
        for axis, extent in enumerate((height, width)):
            middle = (np.arange(self.image[axis]) + 0.5) * self.scaled[axis] / self.image[axis] + self.offset[axis]
            place = np.floor(middle * extent / self.size[axis]).astype(np.int64)
            found.append(np.where((place >= 0) & (place < extent), place, -1))
        return found[0], found[1]


BAR = 114  # grey level of the bars of a letterbox, as in Ultralytics' training


def _sizes(values: dict[str, Any], source: str) -> dict[str, Any]:
    """`resize`, `crop` and `letterbox` of a YAML file."""
    sizes = {key: values[key] for key in ("resize", "crop", "letterbox") if values.get(key) is not None}
    for key, size in sizes.items():
        if _is_list(size, int, 2) and min(size) > 0:
            sizes[key] = tuple(size)
        elif key != "resize" or not _is_number(size, int) or size <= 0:
            shorter = ", or one number for the shorter side" * (key == "resize")
            raise UserError(f"{source}: {key} must be [height, width]{shorter}, not {_short(size)}")
    if "letterbox" in sizes and len(sizes) > 1:
        raise UserError(f"{source}: letterbox is instead of resize and crop: leave these out")
    return sizes


def _letterboxed(image: tuple[int, int], size: tuple[int, int]) -> Placement:
    scale = min(size[0] / image[0], size[1] / image[1])
    scaled = tuple(min(max(1, round(scale * a)), b) for a, b in zip(image, size, strict=True))
    top, left = (round((b - a) / 2 - 0.1) for a, b in zip(scaled, size, strict=True))  # a half: less at the top
    return Placement(image, (scaled[0], scaled[1]), size, (top, left))


def _is_list(value: Any, kind: Any, length: int) -> bool:
    """Whether it has so many numbers, which float32 holds."""
    return isinstance(value, list | tuple) and len(value) == length and all(_is_number(v, kind) for v in value)


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and abs(value) <= _LARGEST


_LARGEST = float(np.finfo(np.float32).max)
_short = reprlib.repr
