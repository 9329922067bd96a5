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
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, int] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Turn a uint8 image (H, W, 3 RGB or 1 grey) into the float32 input (C, H, W)."""
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        picture = picture.convert("L" if self.channels == "GRAY" else "RGB")
        if self.resize:
            height, width = self.resize
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.atleast_3d(np.asarray(picture, dtype=np.float32))
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        normalized = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normalized.transpose(2, 0, 1))

    @classmethod
    def read(cls, path: str | Path) -> Preprocess:
        """Read a YAML file with ``channels``, ``mean``, ``std`` and perhaps ``resize: [height, width]``."""
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
        known = "channels, mean, std, resize"
        if not isinstance(values, dict):
            raise UserError(f"{source} must be a mapping with the keys {known}")
        if unknown := [key for key in values if key not in known.split(", ")]:
            raise UserError(f"{source} has the unknown key {unknown[0]}; there are: {known}")
        if missing := [key for key in ("channels", "mean", "std") if key not in values]:
            raise UserError(f"{source} lacks {', '.join(missing)}; it needs channels, mean and std")
        channels, resize = values["channels"], values.get("resize")
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
        mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
        return cls(channels, mean, std, resize and tuple(resize))

    def to_dict(self) -> dict[str, Any]:
        """The mapping that `from_dict` takes."""
        return asdict(self)


def network_input(
    image: np.ndarray, shape: tuple[int, ...], preprocess: Preprocess | None, name: str = "the image"
) -> np.ndarray:
    """Turn an image into an input of a network, or check an input that is one already.

    Parameters
    ----------
    image : np.ndarray
        uint8 (H, W, C): pixels, which are preprocessed. float32, in the shape of the input with or without its batch
        axis: taken as it is.
    shape : tuple of int
        What the network takes, with the batch: (1, C, H, W).
    preprocess : Preprocess, optional
        Without it pixels become floats 0..255.
    name : str
        Names the image in messages.

    Returns
    -------
    np.ndarray
        float32 of that shape.

    Raises
    ------
    UserError
        The result does not have the network's shape, or is not finite.
    """
    if image.dtype == np.uint8:
        if image.ndim != 3 or image.shape[2] not in (1, 3):
            raise UserError(f"{name}: a uint8 image has the shape (height, width, 1 or 3 channels), not {image.shape}")
        image = (preprocess or _unchanged(shape))(image)
    elif image.dtype != np.float32:
        raise UserError(f"{name}: images are uint8 (pixels) or float32 (network inputs), not {image.dtype}")
    elif not np.isfinite(image).all():
        raise UserError(f"{name} contains NaN or infinity")
    batched = image if image.ndim == len(shape) else image[np.newaxis]
    if batched.shape != tuple(shape):
        hint = "; preprocessing can resize it" if batched.shape[:2] == shape[:2] and image.ndim == 3 else ""
        raise UserError(f"{name} becomes an input of shape {batched.shape}, but the network takes {tuple(shape)}{hint}")
    return batched


_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}


def _unchanged(shape: tuple[int, ...]) -> Preprocess:
    """Pixels 0..255 as floats, grey where the network has one channel."""
    channels = "GRAY" if shape[1:2] == (1,) else "RGB"
    return Preprocess(channels, mean=(0.0,) * _CHANNELS[channels], std=(1.0,) * _CHANNELS[channels])


def _is_list(value: Any, kind: type | tuple[type, ...], length: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == length
        and all(isinstance(v, kind) and isinstance(v, int | float) and math.isfinite(v) for v in value)
        and not any(isinstance(v, bool) for v in value)
    )
