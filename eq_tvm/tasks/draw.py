"""Pictures of what was found."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eq_tvm.tasks.boxes import Boxes

OPACITY = 0.5  # of masks


def draw_boxes(image: np.ndarray, found: Boxes, names: Sequence[str]) -> Image.Image:
    """Boxes with what they are called on an image, uint8 (H, W, 3); the best one on top.

    Parameters
    ----------
    image : np.ndarray
    found : Boxes
        In its pixels.
    names : sequence of str
        Of each box.
    """
    picture = Image.fromarray(image).convert("RGB")
    canvas = ImageDraw.Draw(picture)
    thick = max(2, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(10, round(min(picture.size) / 30)))
    for i in reversed(range(len(found))):
        inside = np.clip(np.rint(found.corners[i]), 0, np.array(picture.size * 2) - 1)
        left, top, right, bottom = map(float, inside)
        colour = color(int(found.classes[i]))
        canvas.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=thick)
        _write(canvas, f"{names[i]} {found.scores[i]:.0%}", (left, top), colour, font, picture.width)
    return picture


def draw_mask(image: np.ndarray, classes: np.ndarray) -> Image.Image:
    """Classes (H, W) of the image's size, half transparent on it, uint8 (H, W, 3); 0, the background, is left clear."""
    palette = np.array([color(i) for i in range(int(classes.max(initial=0)) + 1)], np.float64)
    shown = np.where((classes > 0)[:, :, None], (1 - OPACITY) * image + OPACITY * palette[classes], image)
    return Image.fromarray(shown.round().astype(np.uint8))


def draw_text(image: np.ndarray, lines: Sequence[str]) -> Image.Image:
    """Lines of text in the upper left corner of an image, uint8 (H, W, 3)."""
    picture = Image.fromarray(image).convert("RGB")
    canvas = ImageDraw.Draw(picture)
    size = max(10, round(min(picture.size) / 20))
    for i, line in enumerate(lines):
        place = (0, (i + 1) * size * 1.4)
        _write(canvas, line, place, color(0), ImageFont.load_default(size=size), picture.width)
    return picture


def color(index: int) -> tuple[int, int, int]:
    """Of a class: hues a golden section apart, so that neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _write(
    canvas: ImageDraw.ImageDraw,
    text: str,
    place: tuple[float, float],
    colour: tuple[int, int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    width: int,
) -> None:
    """Above a place, on a ground of that colour; inside the image."""
    _left, _top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    x = max(0.0, min(place[0], width - right - 4))
    y = max(0.0, place[1] - bottom - 4)
    canvas.rectangle((x, y, x + right + 4, y + bottom + 4), fill=colour)
    bright = sum(weight * part for weight, part in zip((0.3, 0.6, 0.1), colour, strict=True)) > 128
    canvas.text((x + 2, y + 2), text, fill="black" if bright else "white", font=font)
