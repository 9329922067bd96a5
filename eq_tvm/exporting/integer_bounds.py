"""Bounds of activations on their integers, where other tools make them part of the layer before."""

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from eq_tvm.passes.graph.pairs import pair_of
from eq_tvm.passes.graph.rewrite import Graph, NewValues, rewrite

_HALF, _INT16 = 128, np.iinfo(np.int16)


def bound_integers(module: tvm.IRModule) -> tvm.IRModule:
    """The module with relu and clip before `quantize` behind it, uint8 in the place of int8, int16 clipped before.

    Quantizing is monotonic, so the integers are the same. ONNX Runtime has integer kernels for a convolution that reads
    and gives one type, and float32 ones else, or where a relu or clip is between that the type does not imply. Of int16
    it has no Clip: real numbers are clipped to the least and the greatest integer's.
    """
    return rewrite(module, _bound)


def _bound(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    pair = pair_of(graph, value)
    if pair is None or (pair.dtype == "int16" and (pair.low, pair.high) == (_INT16.min, _INT16.max)):
        return None
    bounded = pair
    if (activation := graph.sole_call(pair.data, "relax.nn.relu", "relax.clip")) is not None:
        step = np.float32(pair.scale.value.numpy().item())
        ends = [float(end.value) for end in activation.args[1:]] or [0.0, np.inf]
        low, high = (int(np.clip(np.rint(np.float32(x) / step) + pair.zero, pair.low, pair.high)) for x in ends)
        bounded = replace(bounded, data=activation.args[0], low=low, high=high)
    if pair.dtype == "int8":
        shift = 0 if bounded.low >= 0 == pair.zero else _HALF
        low, high = bounded.low + shift, bounded.high + shift
        bounded = replace(bounded, dtype="uint8", zero=pair.zero + shift, low=low, high=high)
    if pair.dtype == "int16":
        least, greatest = (end * pair.scale.value.numpy().item() for end in (bounded.low, bounded.high))
        clipped = relax.op.clip(bounded.data, least, greatest)
        bounded = replace(bounded, data=clipped, low=_INT16.min, high=_INT16.max)
    return None if bounded is pair else {var: bounded.expr()}
