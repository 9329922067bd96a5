"""Integers of a layer's weights as something to descend on: each is one of two neighbours, softly at first."""

import numpy as np

_STRETCH, _OFFSET = np.float32(1.2), np.float32(-0.1)  # of the sigmoid, beyond 0 and 1: both ends are reached
_LEAST = 0.02  # how far from both ends they start
_FAR = 6.0  # beyond it nothing changes any more


class SoftRounding:
    """Weights between two integers: Nagel et al., Up or Down? (arXiv 2004.10568), section 3.3.

    Parameters
    ----------
    integers : numpy.ndarray
        What was found before, one of the two.
    weight : numpy.ndarray
        The weights, in steps of their scale: the other integer is on that side.
    limit : int
        Integers lie in [-limit, limit].
    start : float
        Where to start, in parts of the way from the weights to the integers that were found before.

    Attributes
    ----------
    up : numpy.ndarray float32
        How far each is from the lower integer to the upper one.
    """

    def __init__(self, integers: np.ndarray, weight: np.ndarray, limit: int, start: float) -> None:
        self._lower = np.clip(integers - (weight < integers), -limit, limit - 1).astype(np.float32)
        weight, integers = (np.clip(x - self._lower, 0, 1) for x in (weight, integers))
        first = weight + start * (integers - weight)
        inner = (np.clip(first, _LEAST, 1 - _LEAST) - _OFFSET) / _STRETCH
        self._value = np.log(inner / (1 - inner)).astype(np.float32)
        self._update()

    @property
    def soft(self) -> np.ndarray:
        """The weights in steps of their scale, float32."""
        return self._lower + self.up

    @property
    def rounded(self) -> np.ndarray:
        """The same at the nearer integer."""
        return self._lower + (self.up >= 1 / 2)

    def slope(self) -> np.ndarray:
        """Of `soft` by what `move` moves."""
        inside = (self.up > 0) & (self.up < 1)
        return _STRETCH * self._sigmoid * (1 - self._sigmoid) * inside

    def push(self, power: float) -> np.ndarray:
        """The regularizer's direction, to the nearer integer: the greater the power, the less what is in between."""
        signed = 2 * self.up - 1
        return np.sign(signed) * np.abs(signed) ** np.float32(power)

    def move(self, by: np.ndarray) -> None:
        """Towards the upper integer where positive."""
        self._value += by
        np.clip(self._value, -_FAR, _FAR, out=self._value)
        self._update()

    def _update(self) -> None:
        self._sigmoid = 1 / (1 + np.exp(-self._value))
        self.up = np.clip(_STRETCH * self._sigmoid + _OFFSET, 0, 1)
