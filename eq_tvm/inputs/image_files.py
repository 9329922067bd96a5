"""Image files as people have them, as uint8 RGB."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from eq_tvm.errors import UserError, reason

BACKGROUND = "white"  # what shows through transparent pixels
BITS, BLACK_IS_0 = 258, 262  # tags of TIFF: bits of each channel; 0 where white is 0, else 1


def read_image(path: str | Path) -> np.ndarray:
    """Decode one image file to uint8 RGB (H, W, 3).

    Turned as its EXIF orientation says, transparent pixels on white, of an animation or several pages the first (which
    is warned of). Grey with 16 bits is scaled from 0..65535, with 12 (in TIFF) from 0..4095, floats from 0..1; Pillow
    cuts 16-bit colours to 8.

    Raises
    ------
    UserError
        No image, a truncated one, one larger than Pillow takes (some 179 million pixels), or grey values for which
        nothing says what is white.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, "is_animated", False) and image.format != "MPO":  # whose others are previews, or depth
                warnings.warn("animations and files of several pages: the first one is taken", stacklevel=2)
            tags = getattr(image, "tag_v2", {})  # of TIFF
            return _rgb(_upright(image), tags)
    except Exception as e:  # Pillow's decoders raise whatever they like
        raise UserError(f"can't read the image {path}: {reason(e)}") from e


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say, if these can be read: an image may be good where they are damaged."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above
        return image


def _rgb(image: Image.Image, tags: Mapping[int, Any]) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        grey = _grey(np.asarray(image), tags)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return np.asarray(image.convert("RGB"))


def _grey(values: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
    """To 0..255: floats from 0 to 1, or integers of 16 bits (Pillow has some in 32), in TIFF also of 12."""
    if tags and values.dtype == np.int32 and values.max() < 256:
        raise ValueError("its pixels have 32 bits, but none is above 255: what is white? Save it in 8 or 16 bits")
    bits = tags[BITS][0] if tags and values.dtype == np.uint16 else 16
    white = 1 if values.dtype.kind == "f" else 2**bits - 1
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # nor NaN
        kind = "floats" if white == 1 else "integers of more than 8 bits"
        raise ValueError(
            f"its pixels are from {low} to {high}, but {kind} must be from 0 to {white}: save it in 8 bits"
        )
    grey = np.rint(values * (255 / white)).astype(np.uint8)
    return 255 - grey if tags.get(BLACK_IS_0) == 0 else grey  # Pillow turns only those of 8 bits
