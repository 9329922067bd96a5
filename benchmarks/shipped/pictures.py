"""Pictures that networks are tried on: photos of the data folder, and what is drawn. All (H, W, 3) from 0 to 1."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from peers import detection
from peers.trained import DATA

Size = tuple[int, int]  # height, width
Draw = Callable[[int, Size, np.random.Generator], np.ndarray]


def photo(i: int, size: Size, _random: np.random.Generator) -> np.ndarray:
    """Of ImageNet."""
    photos = _images("imagenet")
    return _pixels(_read(photos[i % len(photos)]), size)


def people(i: int, size: Size, random: np.random.Generator) -> np.ndarray:
    """Most of a photo with faces, every other one mirrored."""
    photos = _images("faces")
    image = _read(photos[i % len(photos)])
    share = random.uniform(0.7, 1)
    left, top = (int(random.uniform(0, 1 - share) * side) for side in image.size)
    cut = image.crop((left, top, left + int(share * image.width), top + int(share * image.height)))
    return _pixels(cut, size)[:, :: -1 if i % 2 else 1]


def face(i: int, size: Size, _random: np.random.Generator) -> np.ndarray:
    """One face in a square, every other one mirrored when all have been."""
    path, (left, top, right, bottom) = _faces()[i % len(_faces())]
    x, y, half = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2
    cut = _read(path).crop((int(x - half), int(y - half), int(x + half), int(y + half)))
    return _pixels(cut, size)[:, :: -1 if i // len(_faces()) % 2 else 1]


def text(_i: int, size: Size, random: np.random.Generator) -> np.ndarray:
    """Random words, dark on light; in high pictures several lines."""
    height, width = size
    high = 32 if height > 64 else height * 2 // 3
    image = Image.new("RGB", (width, height), tuple(int(c) for c in random.integers(170, 256, 3)))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(high)
    for top in range(high // 4, height - high, 2 * high):
        ink = tuple(int(c) for c in random.integers(0, 90, 3))
        draw.text((int(random.integers(0, high)), top), _words(4, random), ink, font)
    return _pixels(image, size)


def page(i: int, size: Size, random: np.random.Generator) -> np.ndarray:
    """A page of a document: a title, paragraphs, and a photo with a caption between them."""
    height, width = size
    image = Image.new("RGB", (width, height), "white")
    draw, unit = ImageDraw.Draw(image), height // 50
    fonts = {high: ImageFont.load_default(high) for high in (unit, 2 * unit)}
    draw.text((width // 5, 2 * unit), _words(3, random), "black", fonts[2 * unit])
    place, figure = 6 * unit, int(random.integers(10, 25)) * unit
    while place < height - 3 * unit:
        if place >= figure:
            picture = _read(_images("imagenet")[i]).resize((width // 2, 12 * unit))
            image.paste(picture, (width // 4, place))
            draw.text((width // 3, place + 13 * unit), f"Figure {i}. {_words(3, random)}", "black", fonts[unit])
            place, figure = place + 16 * unit, height
        for _ in range(int(random.integers(3, 7))):
            draw.text((width // 10, place), _words(30, random)[: width * 3 // (2 * unit)], "black", fonts[unit])
            place += 3 * unit // 2
        place += 2 * unit
    return _pixels(image, size)


def turned_page(i: int, size: Size, random: np.random.Generator) -> np.ndarray:
    """A part of a page, turned by some right angles."""
    height, width = size[::-1] if i % 2 else size
    return np.rot90(page(i, (2 * height, 2 * width), random)[:height, :width], i % 4)


def captcha(i: int, size: Size, random: np.random.Generator) -> np.ndarray:
    """Letters in colours, turned, on a photo."""
    image = Image.fromarray((255 * photo(i, size, random)).astype("uint8"))
    high = size[0] // 6
    for place in random.permutation(9)[:4]:
        letter = Image.new("RGBA", (high * 5 // 4,) * 2)
        colour = tuple(int(c) for c in random.integers(0, 256, 3))
        ImageDraw.Draw(letter).text((high // 4, 0), _words(1, random)[0], colour, ImageFont.load_default(high))
        letter = letter.rotate(random.uniform(-40, 40))
        row, column = divmod(int(place), 3)
        image.paste(letter, (size[1] * column // 3 + high // 2, size[0] * row // 3 + high // 2), letter)
    return _pixels(image, size)


def slider(i: int, size: Size, random: np.random.Generator) -> np.ndarray:
    """A photo with a darkened gap, and the piece that is to be slid into it; grey above and below."""
    height, width = size
    pixels = photo(i, (height // 2, width), random)
    side, top = height // 8, int(random.integers(0, height * 3 // 8))
    left, gap = int(random.integers(0, width // 8)), int(random.integers(width // 3, width - 2 * side))
    shape = Image.new("L", (side, side))
    ImageDraw.Draw(shape).rounded_rectangle((side // 8, side // 4, side * 7 // 8, side), side // 16, 255)
    ImageDraw.Draw(shape).ellipse((side // 3, 0, side * 2 // 3, side // 3), 255)
    inside = np.asarray(shape, "float32")[..., None] / 255
    piece = pixels[top : top + side, gap : gap + side].copy()
    for start, shown in ((gap, 0.4 * piece), (left, piece)):
        window = pixels[top : top + side, start : start + side]
        window[:] = inside * shown + (1 - inside) * window
    border = np.full((height // 4, width, 3), 114 / 255, "float32")
    return np.concatenate([border, pixels, border])


def _words(count: int, random: np.random.Generator) -> str:
    return " ".join("".join(random.choice(list(_LETTERS), random.integers(2, 9))) for _ in range(count))


def _pixels(image: Image.Image, size: Size) -> np.ndarray:
    resized = image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized, "float32") / 255


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@functools.cache
def _images(folder: str) -> list[Path]:
    return sorted(path for path in (DATA / folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


@functools.cache
def _faces() -> list[tuple[Path, tuple[float, ...]]]:
    """Photos, and the corners in pixels of a face in each, as ultraface finds them."""
    import onnxruntime

    session, found = onnxruntime.InferenceSession(DATA / "models/ultraface_rfb_320.onnx"), []
    for path in _images("faces"):
        image = _read(path)
        pixels = (255 * _pixels(image, (detection.HEIGHT, detection.WIDTH)) - 127) / 128
        scores, boxes = session.run(None, {"input": pixels.transpose(2, 0, 1)[None].astype("float32")})
        scale = np.tile([image.width / detection.WIDTH, image.height / detection.HEIGHT], 2)
        found += [(path, tuple(box * scale)) for box in detection.detect(scores[0], boxes[0]).corners]
    return found


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
