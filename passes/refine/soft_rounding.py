"""Integers of a layer's weights as something to descend on: each is one of two neighbours, softly at first."""

import numpy as np

_STRETCH = np.float32(1.2)  # of the sigmoid, beyond 0 and 1: both ends are reached
_OFFSET = np.float32(-0.1)
_LEAST = 0.02  # how far from both ends they start


class SoftRounding:
    """Weights between two integers: Nagel et al., Up or Down? Adaptive Rounding (arXiv 2004.10568), section 3.3.

    Parameters
    ----------
    integers : numpy.ndarray
        What was found before: one of the two.
    wanted : numpy.ndarray
        The weights, in steps of their scale: the other neighbour is on that side.
    limit : int
    share : float
        Of the way from what is wanted to these integers, where to start.
    """

    def __init__(self, integers: np.ndarray, wanted: np.ndarray, limit: int, share: float) -> None:
        below = integers - (wanted < integers)
        self.floor = np.clip(below, -limit, limit - 1).astype(np.float32)
        start = np.clip(wanted - self.floor, 0, 1) * (1 - share) + np.clip(integers - self.floor, 0, 1) * share
        inner = (np.clip(start, _LEAST, 1 - _LEAST) - _OFFSET) / _STRETCH
        self.value = np.log(inner / (1 - inner)).astype(np.float32)  # what is descended on
        self._update()

    def _update(self) -> None:
        self._sigmoid = 1 / (1 + np.exp(-self.value))
        self.up = np.clip(_STRETCH * self._sigmoid + _OFFSET, 0, 1)

    @property
    def soft(self) -> np.ndarray:
        """The weights in steps of their scale."""
        return self.floor + self.up

    @property
    def hard(self) -> np.ndarray:
        """Rounded to the nearer one."""
        return self.floor + (self.up >= 0.5)

    def slope(self) -> np.ndarray:
        """Of `soft` by `value`."""
        inside = (self.up > 0) & (self.up < 1)
        return _STRETCH * self._sigmoid * (1 - self._sigmoid) * inside

    def push(self, power: float) -> np.ndarray:
        """The regularizer's direction: to the nearer end, the steeper the nearer where the power is great."""
        signed = 2 * self.up - 1
        return np.sign(signed) * np.abs(signed) ** np.float32(power)

    def move(self, by: np.ndarray) -> None:
        """Change `value`."""
        self.value += by
        np.clip(self.value, -6, 6, out=self.value)
        self._update()


class LatentRounding:
    """Weights between integers that are always rounded, with the gradient as if they were not."""

    def __init__(self, integers, wanted, limit, share):
        self.limit = limit
        self.value = (np.clip(wanted, integers - 0.5, integers + 0.5) * (1 - share) + integers * share).astype(np.float32)

    @property
    def soft(self):
        return np.clip(np.rint(self.value), -self.limit, self.limit)

    hard = soft

    def slope(self):
        return np.float32(1)

    def push(self, power):
        return np.float32(0)

    def move(self, by):
        self.value += by
        np.clip(self.value, -self.limit - 0.5, self.limit + 0.5, out=self.value)
