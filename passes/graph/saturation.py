"""Where the quantized ranges of activations are to end, whatever images show beyond: a note on the canonical module."""

from collections.abc import Mapping

import numpy as np
import tvm

from .notes import note, with_note

_NOTE = "saturation"

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
