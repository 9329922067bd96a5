"""Weights of 4 bits, two to a byte: packed ahead of time, unpacked in registers before they are multiplied.

A byte holds the weights of one lane in two neighbouring vectors of a block: that of the first in its low bits. So a
vector of bytes becomes two of weights without any lane being moved. What they become is a matter of what is cheapest:

- Where products go straight to int32, 16 times the weight, which takes the high bits as they stand: a mask, and for
  the low ones a shift before it. The accumulator is then 16 times the layer's, a power of two that its multiplier
  takes back without rounding.
- Where they are added up in int16 first, which has no room for that, the weight itself. ARM shifts it back; x86 cannot
  shift signed bytes, and has weight + 8 in the byte: a mask, a subtraction, and for the high ones a shift before them.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from tvm import te, tirx
from tvm.tirx import Expr

from ..processor.instruction import Instruction

Array: TypeAlias = npt.NDArray[Any]

VECTOR = 5  # the axis of packed weights along which two become one
LOW, HIGH = -8, 7  # weights of 4 bits


def fits(weight: Array, instruction: Instruction) -> bool:
    """Whether integer weights have 4 bits, and the instruction takes bytes, and in vectors by themselves."""
    return instruction.weight == "int8" and not (instruction.chains or instruction.matrix) and holds(weight)


def holds(weight: Array) -> bool:
    """Whether integer weights have 4 bits."""
    return bool(weight.min(initial=0) >= LOW and weight.max(initial=0) <= HIGH)


def factor(instruction: Instruction) -> int:
    """How many times the layer's accumulators are those that unpacked weights make."""
    return 1 if instruction.int16_step else 16


def pack(weights: Array, instruction: Instruction) -> Array:
    """int8 weights within [LOW, HIGH] as bytes (uint8), half as many along the axis `VECTOR`."""
    bits = (weights + _added(instruction)).astype("uint8") & 15
    shape = weights.shape
    bits = bits.reshape(*shape[:VECTOR], shape[VECTOR] // 2, 2, *shape[VECTOR + 1 :])
    low, high = np.moveaxis(bits, VECTOR + 1, 0)
    return np.ascontiguousarray(low | high << 4)


def unpacked(weights: te.Tensor, instruction: Instruction) -> te.Tensor:
    """The block "unpacked": weights, times `factor`, as the instruction takes them, from the bytes of `pack`."""
    shape = [int(extent) for extent in weights.shape]
    shape[VECTOR] *= 2

    def weight(*at: Expr) -> Expr:
        vector = at[VECTOR]
        byte = weights[(*at[:VECTOR], vector // 2, *at[VECTOR + 1 :])]
        shift = (vector % 2 * 4).astype("uint8")
        if _added(instruction):
            bits = (byte >> shift) & tirx.const(15, "uint8")
            return bits.astype("int8") - tirx.const(_added(instruction), "int8")
        high = byte << (tirx.const(4, "uint8") - shift)
        if factor(instruction) == 1:
            return high.astype("int8") >> tirx.const(4, "int8")
        return (high & tirx.const(0xF0, "uint8")).astype("int8")

    names = ["g", "b", "kh", "tap", "step", "v", *(f"inner{axis}" for axis in range(VECTOR + 1, len(shape)))]
    return te.compute(shape, weight, "unpacked", varargs_names=names)


def _added(instruction: Instruction) -> int:
    """To weights before they are packed."""
    return -LOW if instruction.int16_step and not instruction.neon else 0
