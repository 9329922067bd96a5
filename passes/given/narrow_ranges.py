"""Ranges of less than int16, where real numbers are clipped to them."""

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from ..graph.pairs import pair_of
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, rewrite


@relax_pass
class NarrowRanges:
    """A clip before `quantize` to int16 becomes one of its integers, where it ends at them.

    So activations of 12 bits are written that quantize to int16. Others, of 65536 integers, no kernel takes.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _narrow)


def _narrow(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    pair = pair_of(graph, value)
    if pair is None or pair.dtype != "int16":
        return None
    clip = graph.sole_call(pair.data, "relax.clip")
    if clip is None:
        return None
    ends = np.array([float(end.value) for end in clip.args[1:]]) / pair.scale.value.numpy().item()
    if not np.allclose(ends, np.rint(ends), rtol=_ROUNDING, atol=_ROUNDING):
        return None
    low, high = (int(end) + pair.zero for end in np.rint(ends))
    low, high = max(low, pair.low), min(high, pair.high)
    return {var: replace(pair, data=clip.args[0], low=low, high=high).expr()}


_ROUNDING = 1e-6  # of float32, in what the clip ends at
