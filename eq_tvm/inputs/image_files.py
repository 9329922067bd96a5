"""Image files as people have them, as uint8 RGB."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from eq_tvm.errors import UserError

BACKGROUND = "white"  # what shows through transparent pixels


def read_image(path: str | Path) -> np.ndarray:
    """Decode one image file to uint8 RGB (H, W, 3).

    Turned as its EXIF orientation says, transparent pixels on white, of an animation or several pages the first (which
    is warned of). Grey with 16 bits is scaled from 0..65535, floats from 0..1; Pillow cuts 16-bit colours to 8.

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
            return _rgb(ImageOps.exif_transpose(image), image.format)
    except Exception as e:  # Pillow's decoders raise whatever they like
        raise UserError(f"can't read the image {path}: {getattr(e, 'strerror', None) or _one_line(e)}") from e


def _rgb(image: Image.Image, file: str | None) -> np.ndarray:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if file == "TIFF" and values.dtype == np.int32 and values.max() < 256:
            raise ValueError("its pixels have 32 bits, but none is above 255: what is white? Save it in 8 or 16 bits")
        return np.repeat(_grey(values)[:, :, np.newaxis], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return np.asarray(image.convert("RGB"))


def _grey(values: np.ndarray) -> np.ndarray:
    """To 0..255: integers of 16 bits (Pillow has some in 32), or floats from 0 to 1."""
    white = 1 if values.dtype.kind == "f" else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # nor NaN
        kind = "floats" if white == 1 else "integers of more than 8 bits"
        raise ValueError(
            f"its pixels are from {low} to {high}, but {kind} must be from 0 to {white}: save it in 8 bits"
        )
    return np.rint(values * (255 / white)).astype(np.uint8)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
