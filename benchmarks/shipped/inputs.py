"""Natural inputs for networks that come without any: photos, faces, text, something like speech and brain waves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from peers.models import HERE
from shipped import pictures, signals

Shape = tuple[int, ...]
Made = Callable[[int, Shape, np.random.Generator], np.ndarray]


def natural(kind: str, shape: Shape, count: int) -> np.ndarray:
    """`count` inputs of a kind in `INPUTS`: (count, *shape), the same in each call; float32 but for bytes in int32."""
    random = np.random.default_rng(0)
    inputs = np.stack([INPUTS[kind](i, shape, random) for i in range(count)])
    return inputs if inputs.dtype == "int32" else inputs.astype("float32")


def _scaled(draw: pictures.Draw, low: float = 0.0, high: float = 1.0) -> Made:
    """Pictures in NCHW, from `low` (black) to `high` (white)."""

    def made(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
        pixels = draw(i, shape[-2:], random)
        pixels = pixels.mean(axis=2, keepdims=True) if shape[1] == 1 else pixels
        return np.broadcast_to(low + (high - low) * pixels.transpose(2, 0, 1), shape)

    return made


def _standard(draw: pictures.Draw) -> Made:
    """Pictures in NCHW, less the mean colour of ImageNet, in its standard deviations."""

    def made(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
        pixels = (draw(i, shape[-2:], random) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return np.broadcast_to(pixels.transpose(2, 0, 1), shape)

    return made


def _frames(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """Photos of a film in NCDHW, D of them, [-1, 1]."""
    count = shape[2]
    photos = [pictures.photo(i * count + k, shape[-2:], random) for k in range(count)]
    return np.broadcast_to(2 * np.stack(photos).transpose(3, 0, 1, 2) - 1, shape)


def _caffe(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """Pixels of a photo in NHWC and BGR, less the mean colour of ImageNet."""
    return np.broadcast_to(255 * pictures.photo(i, shape[1:3], random)[..., ::-1] - [104, 117, 123], shape)


def _face(i: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    """One face, in NHWC, [-1, 1]."""
    return np.broadcast_to(2 * pictures.face(i, shape[1:3], random) - 1, shape)


def _source(i: int, shape: Shape, _random: np.random.Generator) -> np.ndarray:
    """The first bytes of a file of this project, padded with 256."""
    files = sorted(path for path in HERE.parent.glob("*/*") if path.suffix in (".py", ".md", ".yaml", ".toml"))
    (size,) = shape[1:]
    read = np.frombuffer(Path(files[i % len(files)]).read_bytes()[:size], np.uint8).astype("int32")
    return np.broadcast_to(np.pad(read, (0, size - len(read)), constant_values=256), shape)


INPUTS: dict[str, Made] = {
    "photos": _scaled(pictures.photo),
    "people": _scaled(pictures.people),
    "people in pixels": _scaled(pictures.people, high=255),
    "captchas in pixels": _scaled(pictures.captcha, high=255),
    "sliders": _scaled(pictures.slider),
    "text": _scaled(pictures.text, -1, 1),
    "pages": _standard(pictures.page),
    "turned pages": _standard(pictures.turned_page),
    "frames": _frames,
    "caffe": _caffe,
    "face": _face,
    "speech": signals.speech,
    "loudness": signals.loudness,
    "brain waves": signals.brain_waves,
    "bands of brain waves": signals.bands,
    "state": signals.state,
    "source": _source,
}
