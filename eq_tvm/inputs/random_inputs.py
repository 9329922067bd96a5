"""Noise that a network can run on."""

from __future__ import annotations

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.inputs.number_kind import number_kind

_LIMITS = {"uint8": 256, "int8": 128}  # others hold indices and flags: 0 and 1 are in every table


def random_numbers(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A normal distribution for floats; all pixels for uint8; 0 and 1 for what may be indices or a mask."""
    if number_kind(dtype) == "f":
        return np.asarray(random.standard_normal(shape, np.float32)).astype(dtype)
    return np.asarray(random.integers(0, _LIMITS.get(dtype, 2), shape)).astype(dtype)


def random_inputs(inputs: tuple[TensorInfo, ...]) -> list[np.ndarray]:
    """Seeded noise for each input of a network, in its shape and dtype."""
    random = np.random.default_rng(0)
    return [random_numbers(random, info.shape, info.dtype) for info in inputs]
