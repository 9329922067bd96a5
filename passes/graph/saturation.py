"""Where the quantized ranges of activations are to end, whatever images show beyond: a note on the canonical module."""

from collections.abc import Mapping

import numpy as np
import tvm

from .network import Network, read_by_softmax
from .notes import note, with_note

_NOTE = "saturation"
# Scores so far below the largest of their row have no share: exp(-11.1) is half a unit of softmax's table. The rest is
# for images whose largest scores are lower
_NO_SHARE = 16.0

Ends = tuple[float, float]  # infinite where there is none


def with_saturation(mod: tvm.IRModule, ends: Mapping[str, Ends]) -> tvm.IRModule:
    """The module with a note of the least and the greatest number that nodes, by their names, are to be quantized for.

    What calibration sees beyond counts as being there.
    """
    return with_note(mod, _NOTE, dict(ends))


def saturation(mod: tvm.IRModule) -> dict[str, Ends]:
    """What `with_saturation` noted."""
    return {name: (low, high) for name, (low, high) in note(mod, _NOTE).items()}


def saturated(value: np.ndarray, ends: Ends | None) -> np.ndarray:
    """A node's result as calibration is to see it."""
    return value if ends is None else np.clip(value, np.float32(ends[0]), np.float32(ends[1]))


def counted(net: Network, i: int, value: np.ndarray) -> np.ndarray:
    """A node's result (N, ...): scores that softmax makes nothing of as the least that it makes nothing of.

    Those behind masks, for one, which may be -infinity.
    """
    if not read_by_softmax(net, i):
        return value
    return np.maximum(value, value.max(axis=-1, keepdims=True) - np.float32(_NO_SHARE))
