"""Images drawn by a program: shapes of all sizes that cover each other, with textures and shades."""

import numpy as np

_SMALLEST, _LARGEST = 0.03, 0.6  # radius of a shape, in parts of the image's shorter side
_SHAPES = (10, 80)  # in an image
_CHROMA = 0.12  # deviation of a channel from the brightness that all share


def procedural_images(count: int, channels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Draw images as different from each other as photographs are.

    Dead leaves: what photographs have in common, edges at all scales and a spectrum of about 1 / f, comes of things
    that cover each other, with sizes by a power law (Lee, Mumford and Huang, Occlusion Models for Natural Images, 2001;
    Baradad et al., Learning to See by Looking at Noise, arXiv 2106.05963, train networks on such). Colours are mostly
    bright or dark, less of a hue.

    Returns
    -------
    numpy.ndarray
        float32 (count, channels, height, width) from 0 to 1.
    """
    children = np.random.SeedSequence(seed).spawn(count)
    images = [_leaves(np.random.default_rng(child), channels, height, width) for child in children]
    return np.clip(np.stack(images), 0, 1).astype(np.float32)


def _leaves(rng: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    image = np.empty((channels, height, width), np.float32)
    image[:] = _colour(rng, channels)[:, None, None] + _contrast(rng) * _noise(rng, height, width)
    for radius in _radii(rng) * min(height, width):
        u, v = _around(rng, height, width, radius)
        inside = _OUTLINES[rng.integers(len(_OUTLINES))](u, v)
        u, v = u[inside], v[inside]
        texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, u, v, inside)
        shade = 0.2 * (rng.standard_normal() * u + rng.standard_normal() * v)
        image[:, inside] = _colour(rng, channels)[:, None] + texture + shade
    return image * np.float32(rng.uniform(0.6, 1.1))


def _radii(rng: np.random.Generator) -> np.ndarray:
    """By a density of 1 / r^3, with which all scales cover as much; of half the images the small ones come last."""
    share = rng.uniform(size=rng.integers(*_SHAPES))
    radii = (_SMALLEST**-2 - share * (_SMALLEST**-2 - _LARGEST**-2)) ** -0.5
    return np.sort(radii)[::-1] if rng.uniform() < 0.5 else radii


def _around(rng: np.random.Generator, height: int, width: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates around a place, turned and squeezed, in radii."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - rng.uniform(0, height), x - rng.uniform(0, width)
    turn, squeezed = rng.uniform(0, np.pi), rng.uniform(0.4, 1)
    u = (x * np.cos(turn) + y * np.sin(turn)) / radius
    return u, (y * np.cos(turn) - x * np.sin(turn)) / (radius * squeezed)


def _colour(rng: np.random.Generator, channels: int) -> np.ndarray:
    return np.asarray(rng.uniform(0, 1) + _CHROMA * rng.gamma(1) * rng.standard_normal(channels))


def _contrast(rng: np.random.Generator) -> float:
    return 0.15 * float(rng.gamma(1))


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise with a spectrum of about 1 / f, of mean 0 and deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    real, imaginary = rng.standard_normal((2, *frequency.shape))
    found = np.fft.irfft2((real + 1j * imaginary) / frequency ** rng.uniform(0.3, 1.6), s=(height, width))
    return np.asarray(found / max(found.std(), 1e-12))


_OUTLINES = (
    lambda u, v: u * u + v * v < 1,
    lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.8,
    lambda u, v: np.abs(u) + np.abs(v) < 1,
)
_TEXTURES = (
    lambda rng, u, v, inside: 0.0,
    lambda rng, u, v, inside: 0.0,
    lambda rng, u, v, inside: _contrast(rng) * np.sin(u * rng.uniform(2, 20) + rng.uniform(0, 6)),
    lambda rng, u, v, inside: _contrast(rng) * _noise(rng, *inside.shape)[inside],
)
