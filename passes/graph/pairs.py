"""Quantize/dequantize pairs of activations, with the clip of integers that may stand between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from .rewrite import Graph, array, operator_name


@dataclass(frozen=True)
class Pair:
    """``dequantize(clip(quantize(data, scale, zero), low, high), scale, zero)``.

    Attributes
    ----------
    data, scale : relax.Expr
        The scale is one number.
    dtype : str
        Of the integers.
    zero, low, high : int
        The clip is left out where it is what the dtype holds.
    """

    data: relax.Expr
    scale: relax.Expr
    dtype: str
    zero: int
    low: int
    high: int

    def expr(self) -> relax.Call:
        """As nested calls."""
        info, zero = np.iinfo(self.dtype), relax.const(np.array(self.zero, self.dtype))
        integers = relax.op.quantize(self.data, self.scale, zero, axis=-1, out_dtype=self.dtype)
        if (self.low, self.high) != (info.min, info.max):
            integers = relax.op.clip(integers, self.low, self.high)
        return relax.op.dequantize(integers, self.scale, zero, axis=-1, out_dtype="float32")


def pair_of(graph: Graph, dequantize: relax.Expr) -> Pair | None:
    """The pair that ends with a call, if nothing else reads its integers and it has one scale, at both ends."""
    if operator_name(dequantize) != "relax.dequantize":
        return None
    clip = graph.sole_call(dequantize.args[0], "relax.clip")
    quantize = graph.sole_call(dequantize.args[0] if clip is None else clip.args[0], "relax.quantize")
    if quantize is None or any((p := array(arg)) is None or p.size != 1 for arg in quantize.args[1:]):
        return None
    if not same_scale(quantize, dequantize):
        return None
    dtype = str(quantize.attrs.out_dtype)
    info = np.iinfo(dtype)
    low, high = (info.min, info.max) if clip is None else (int(end.value) for end in clip.args[1:])
    return Pair(quantize.args[0], quantize.args[1], dtype, int(quantize.args[2].value.numpy().item()), low, high)


def same_scale(quantize: relax.Call, dequantize: relax.Call) -> bool:
    """Whether integers are dequantized as they were quantized: by the same constant scales and zero points."""
    ends = [[array(arg) for arg in call.args[1:]] for call in (quantize, dequantize)]
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in zip(*ends, strict=True))
