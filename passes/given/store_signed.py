"""Integers that int8 holds, in int8."""

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from ..graph.pairs import pair_of
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, rewrite


@relax_pass
class StoreSigned:
    """Quantize to int8 without a zero point where a zero point leaves integers from -128 to 127.

    As of uint8 with the zero point 128, which others take for what is symmetric. Instructions multiply int8 as it is.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _store)


def _store(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    pair = pair_of(graph, value)
    if pair is None or not pair.zero or np.iinfo(pair.dtype).bits > 8:
        return None
    low, high = pair.low - pair.zero, pair.high - pair.zero
    if low < _INT8.min or high > _INT8.max:
        return None
    return {var: replace(pair, dtype="int8", zero=0, low=low, high=high).expr()}


_INT8 = np.iinfo(np.int8)
