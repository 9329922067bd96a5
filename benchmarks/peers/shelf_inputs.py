"""Natural inputs for networks that come without any: photos, text, something like speech."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from peers.models import HERE
from peers.trained import DATA


def natural(kind: str, shape: tuple[int, ...], count: int) -> np.ndarray:
    """`count` inputs of a kind in `INPUTS`: (count, *shape), the same in each call; float32 but for bytes in int32."""
    random = np.random.default_rng(0)
    inputs = np.stack([INPUTS[kind](i, shape, random) for i in range(count)])
    return inputs if inputs.dtype == "int32" else inputs.astype("float32")


def _photo(i: int, shape: tuple[int, ...], _random: np.random.Generator) -> np.ndarray:
    """Pixels in [0, 1] of a photo in the data folder."""
    height, width = shape[-2:]
    with Image.open(_photos()[i % len(_photos())]) as image:
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), "float32")
    return np.broadcast_to(pixels.transpose(2, 0, 1) / 255, shape)


def _pixels(i: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Pixels in [0, 255] of a photo."""
    return 255 * _photo(i, shape, random)


def _caffe(i: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Pixels of a photo in NHWC and BGR, less the mean colour of ImageNet."""
    batch, height, width, channels = shape
    image = _pixels(i, (batch, channels, height, width), random)[:, ::-1]
    return image.transpose(0, 2, 3, 1) - np.float32([104, 117, 123])


def _photos() -> list[Path]:
    return sorted(path for path in (DATA / "imagenet").rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def _text(_i: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Pixels in [-1, 1] of random words, dark on light; in high images several lines."""
    height, width = shape[-2:]
    size = 32 if height > 64 else height * 2 // 3
    image = Image.new("RGB", (width, height), tuple(int(c) for c in random.integers(170, 256, 3)))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for top in range(size // 4, height - size, 2 * size):
        words = ["".join(random.choice(list(_LETTERS), random.integers(2, 9))) for _ in range(4)]
        ink = tuple(int(c) for c in random.integers(0, 90, 3))
        draw.text((int(random.integers(0, size)), top), " ".join(words), ink, font)
    pixels = np.asarray(image.convert("L" if shape[1] == 1 else "RGB"), "float32").reshape(height, width, shape[1])
    return np.broadcast_to(pixels.transpose(2, 0, 1) / 127.5 - 1, shape)


def _speech(i: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Harmonics of a pitch under three formants, in noise, at 16 kHz; each third input is noise alone."""
    samples = np.prod(shape)
    time = np.arange(samples) / 16000
    pitch, formants = random.uniform(90, 240), random.uniform((300, 900, 2200), (800, 2000, 3000))
    wave = 0.01 * random.standard_normal(samples)
    if i % 3 != 2:
        for harmonic in np.arange(1, 25) * pitch:
            loudness = np.exp(-(((harmonic - formants) / 150) ** 2)).sum() + 0.03
            wave += 0.1 * loudness * np.sin(2 * np.pi * (harmonic * time + random.uniform()))
    return wave.reshape(shape)


def _source(i: int, shape: tuple[int, ...], _random: np.random.Generator) -> np.ndarray:
    """The first bytes of a file of this project, padded with 256."""
    files = sorted(path for path in HERE.parent.glob("*/*") if path.suffix in (".py", ".md", ".yaml", ".toml"))
    (size,) = shape[1:]
    read = np.frombuffer(files[i % len(files)].read_bytes()[:size], np.uint8).astype("int32")
    return np.broadcast_to(np.pad(read, (0, size - len(read)), constant_values=256), shape)


def _state(_i: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """What a recurrent network may have kept."""
    return 0.3 * random.standard_normal(shape)


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

INPUTS: dict[str, Callable[[int, tuple[int, ...], np.random.Generator], np.ndarray]] = {
    "photos": _photo,
    "pixels": _pixels,
    "caffe": _caffe,
    "text": _text,
    "speech": _speech,
    "source": _source,
    "state": _state,
}
