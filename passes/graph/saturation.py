"""Where the quantized ranges of activations are to end, whatever images show beyond: a note on the canonical module."""

from collections.abc import Mapping

import numpy as np
import tvm

_ATTRIBUTE = "saturation"

Ends = tuple[float, float]  # infinite where there is none


def with_saturation(mod: tvm.IRModule, ends: Mapping[str, Ends]) -> tvm.IRModule:
    """The module with a note of the least and the greatest number that nodes, by their names, are to be quantized for.

    The note changes nothing that the module computes: what calibration sees beyond counts as being there.
    """
    noted = tvm.IRModule(mod.functions, attrs=mod.attrs)
    noted["main"] = mod["main"].with_attr(_ATTRIBUTE, {name: list(map(str, each)) for name, each in ends.items()})
    return noted


def without_saturation(mod: tvm.IRModule) -> tvm.IRModule:
    """The module without that note."""
    if not saturation(mod):
        return mod
    bare = tvm.IRModule(mod.functions, attrs=mod.attrs)
    bare["main"] = mod["main"].without_attr(_ATTRIBUTE)
    return bare


def saturation(mod: tvm.IRModule) -> dict[str, Ends]:
    """What `with_saturation` noted."""
    noted = (mod["main"].attrs or {}).get(_ATTRIBUTE) or {}
    return {str(name): (float(str(low)), float(str(high))) for name, (low, high) in noted.items()}


def saturated(value: np.ndarray, ends: Ends | None) -> np.ndarray:
    """A node's result as calibration is to see it."""
    return value if ends is None else np.clip(value, np.float32(ends[0]), np.float32(ends[1]))
