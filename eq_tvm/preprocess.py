"""From the pixels of an image to the network's input."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from eq_tvm.errors import UserError

LAYOUTS = ("NCHW", "NHWC")


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
        normalized = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normalized if self.layout == "NHWC" else normalized.transpose(2, 0, 1))

    @classmethod
    def read(cls, path: str | Path) -> Preprocess:
        """Read a YAML file with ``channels``, ``mean``, ``std``, and perhaps ``resize`` and ``layout``."""
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as e:
            raise UserError(f"can't read the preprocessing {path}: {getattr(e, 'strerror', None) or e}") from e
        except yaml.YAMLError as e:
            raise UserError(f"preprocessing {path} is not valid YAML: {' '.join(str(e).split())}") from e
        return cls.from_dict(values, f"preprocessing {path}")

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
        if not isinstance(channels, str) or channels not in _CHANNELS:
            raise UserError(f"{source}: channels must be one of {', '.join(_CHANNELS)}, not {channels!r}")
        for key in ("mean", "std"):
            numbers = values[key]
            if not _is_list(numbers, (int, float), _CHANNELS[channels]) or not all(map(math.isfinite, numbers)):
                raise UserError(f"{source}: {key} must be one number per channel of {channels}, not {numbers!r}")
            if key == "std" and 0 in numbers:
                raise UserError(f"{source}: std must have no 0, as pixels are divided by it, but is {numbers!r}")
        if resize is not None and not (_is_list(resize, int, 2) and min(resize) > 0):
            raise UserError(f"{source}: resize must be [height, width], not {resize!r}")
        if layout not in (None, *LAYOUTS):
            raise UserError(f"{source}: layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
        mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
        return cls(channels, mean, std, resize and tuple(resize), layout)

    def to_dict(self) -> dict[str, Any]:
        """The mapping that `from_dict` takes."""
        return asdict(self)


_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}


def _is_list(value: Any, kind: type | tuple[type, ...], length: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == length
        and all(isinstance(v, kind) and isinstance(v, int | float) and math.isfinite(v) for v in value)
        and not any(isinstance(v, bool) for v in value)
    )
