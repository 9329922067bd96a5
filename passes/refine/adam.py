"""Stochastic gradient descent with steps of one size for all."""

import numpy as np

_MEAN, _SQUARE = 0.9, 0.99  # how much of what was is kept
_TINY = np.float32(1e-20)


class Adam:
    """Steps of Kingma and Ba, Adam (arXiv 1412.6980), for a rate of 1."""

    def __init__(self) -> None:
        self._mean: np.ndarray | np.float32 = np.float32(0)
        self._square: np.ndarray | np.float32 = np.float32(0)
        self._count = 0

    def __call__(self, gradient: np.ndarray | np.float32) -> np.ndarray:
        """The step by the next gradient, about -1 to 1, uphill."""
        self._count += 1
        self._mean = np.float32(_MEAN) * self._mean + np.float32(1 - _MEAN) * gradient
        self._square = np.float32(_SQUARE) * self._square + np.float32(1 - _SQUARE) * gradient * gradient
        mean = self._mean / np.float32(1 - _MEAN**self._count)
        square = self._square / np.float32(1 - _SQUARE**self._count)
        return np.asarray(mean / (np.sqrt(square) + _TINY), np.float32)
