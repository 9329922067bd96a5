"""The layers of an annotated module that add products in 16 bits, and how long those sums may get."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import relax

from eq_tvm.schedules.choice.chains import added_together, extremes, with_lengths
from eq_tvm.schedules.processor import instructions
from eq_tvm.schedules.processor.machine import Machine

from ..graph.rewrite import array, operator_name, shape
from .channel_arrays import ChannelArrays, Parts, makes

_LENGTHS = (2, 4, 8, 16)
_SAME_RANGE = ("relax.nn.max_pool2d", "relax.reshape", "relax.concat")


@dataclass(frozen=True)
class QuantizedLayer:
    """A convolution or dense layer.

    Attributes
    ----------
    name : str
    parts : tuple of Part
        The channels that it reads.
    weight : numpy.ndarray (K, rows) int8
        For each of these channels its weights.
    read_as : (int, int)
        Least and greatest activation as the instruction reads it.
    sums : list of list of numpy.ndarray (K,) int
        For each way to add up products in 16 bits, and each length of the sums, the shortest first: the sum that each
        channel's products are added to. Only those that go beyond what ranges alone prove.
    """

    name: str
    parts: Parts
    weight: np.ndarray
    read_as: tuple[int, int]
    sums: list[list[np.ndarray]]

    def products(self, order: np.ndarray) -> np.ndarray:
        """(2, K, rows) int32 of the channels in some order: the greatest product, and the least one's negative."""
        greatest, least = extremes(self.weight[order], self.read_as)
        return np.stack([greatest, -least])


def quantized_layers(arrays: ChannelArrays, machine: Machine) -> list[QuantizedLayer]:
    """All layers of several pixels (others wait for their weights) with an instruction whose sums may be longer."""
    found = []
    for var, call in arrays.values.items():
        if not makes(call) or math.prod(shape(call)) == shape(call)[1]:
            continue
        weight, span = arrays.constant(call.args[1]), _range(arrays, call.args[0])
        if span is None or weight is None or weight.dtype != np.int8:
            continue
        by_channel = weight if weight.ndim == 2 else np.moveaxis(weight, 1, 0).reshape(weight.shape[1], -1)
        largest = int(np.abs(weight.astype(int)).max(initial=1))
        chosen, offset = instructions.choose(machine.instructions, span, largest)
        sums = [
            [
                added_together(longer, len(by_channel))
                for longer in with_lengths(instruction, _LENGTHS)
                if len(by_channel) % longer.depth == 0
            ]
            for instruction in instructions.variants(chosen)
        ]
        if any(sums):
            read_as = (span[0] + offset, span[1] + offset)
            found.append(QuantizedLayer(var.name, arrays.parts[call.args[0]], by_channel, read_as, sums))
    return found


def _range(arrays: ChannelArrays, expr: relax.Expr) -> tuple[int, int] | None:
    """The range of the integers that a tensor consists of, less their zero point; None for a float one."""
    call = arrays.values.get(expr, expr)
    name = operator_name(call)
    if name == "relax.dequantize":
        return _stored_range(arrays.values.get(call.args[0]), array(call.args[2]))
    if name not in _SAME_RANGE:
        return None
    fields = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else call.args[:1]
    ranges = [_range(arrays, field) for field in fields]
    known = [each for each in ranges if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(ranges) else None


def _stored_range(integers: relax.Expr | None, zero: np.ndarray | None) -> tuple[int, int] | None:
    if zero is None or zero.size > 1 or not isinstance(integers, relax.Call):
        return None
    if operator_name(integers) == "relax.clip":
        low, high = (int(arg.value) for arg in integers.args[1:])
    elif operator_name(integers) == "relax.quantize":
        info = np.iinfo(str(integers.attrs.out_dtype))
        low, high = int(info.min), int(info.max)
    else:
        return None
    return low - int(zero.item()), high - int(zero.item())
