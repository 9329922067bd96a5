"""Integers that int8 holds, in int8."""

import numpy as np
import tvm
from tvm import relax

from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite


@tvm.transform.module_pass(opt_level=0, name="StoreSigned")
class StoreSigned:
    """Quantize to int8 without a zero point where a zero point leaves integers from -128 to 127.

    As of uint8 with the zero point 128, which others take for what is symmetric. Instructions multiply int8 as it is.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _store)


def _store(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    """Of a pair, with its clip if there is one, none of which anything else reads."""
    if operator_name(value) != "relax.dequantize":
        return None
    clip = graph.sole_call(value.args[0], "relax.clip")
    quantize = graph.sole_call(value.args[0] if clip is None else clip.args[0], "relax.quantize")
    if quantize is None or any((p := array(arg)) is None or p.size != 1 for arg in quantize.args[1:]):
        return None
    dtype, zero = str(quantize.attrs.out_dtype), int(quantize.args[2].value.numpy().item())
    info = np.iinfo(dtype)
    ends = (info.min, info.max) if clip is None else [int(end.value) for end in clip.args[1:]]
    low, high = (end - zero for end in ends)
    if not zero or info.bits > 8 or low < -128 or high > 127:
        return None
    nothing = relax.const(np.int8(0))
    integers = relax.op.quantize(quantize.args[0], quantize.args[1], nothing, axis=-1, out_dtype="int8")
    if (low, high) != (-128, 127):
        integers = relax.op.clip(integers, low, high)
    return {var: relax.op.dequantize(integers, value.args[1], nothing, axis=-1, out_dtype="float32")}
