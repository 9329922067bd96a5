"""What the importer noted of a quantized network's weights."""

from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax

_NOTED = "weight_scales"


def noted_scales(mod: tvm.IRModule) -> dict[str, np.ndarray]:
    """By layer, the scales (O,) or (1,) of its weights, of ``main``'s attribute ``weight_scales``; none without it."""
    attributes = mod["main"].attrs
    noted = attributes[_NOTED] if attributes is not None and _NOTED in attributes else {}
    return {str(layer): scales.value.numpy() for layer, scales in noted.items()}


def with_noted_scales(mod: tvm.IRModule, scales: Mapping[str, np.ndarray]) -> tvm.IRModule:
    """A module whose ``main`` has other ones, or no such attribute, where there are none."""
    noted = tvm.IRModule(mod.functions, attrs=mod.attrs)
    constants = {layer: relax.const(values.astype(np.float32)) for layer, values in scales.items()}
    main = mod["main"]
    if constants:
        noted["main"] = main.with_attr(_NOTED, constants)
    elif main.attrs is not None and _NOTED in main.attrs:
        noted["main"] = main.without_attr(_NOTED)
    return noted
