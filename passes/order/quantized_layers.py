"""The layers of an annotated module that add products in 16 bits, and how long those sums may get."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eq_tvm.schedules.choice.chains import added_together, extremes, usual_lengths, with_lengths
from eq_tvm.schedules.processor import instructions
from eq_tvm.schedules.processor.instruction import Instruction
from eq_tvm.schedules.processor.machine import Machine

from ..graph.rewrite import shape
from .channel_arrays import ChannelArrays, Parts, makes, stored_range

_LARGEST = 2**22  # weights of a layer: a search holds several copies of their products


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
    sums : list of list of numpy.ndarray (taps, K) int
        For each way to add up products in 16 bits, and each length of the sums, the shortest first: the sum that each
        channel's products are added to, see `exchanges.Reader`. Only those that go beyond what ranges alone prove.
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
    """Layers of several pixels (others wait for their weights) with an instruction whose sums may be longer."""
    found = []
    for var, call in arrays.values.items():
        if not makes(call) or math.prod(shape(call)) == shape(call)[1]:
            continue
        weight, span = arrays.constant(call.args[1]), stored_range(arrays.values, call.args[0])
        if span is None or weight is None or weight.dtype != np.int8:
            continue
        if span[1] - span[0] >= 2**8 or weight.size > _LARGEST:
            continue
        zero = instructions.zero(*span, instructions.vector_bits(machine.instructions))
        span = (span[0] + zero, span[1] + zero)  # as it is stored
        by_channel = weight if weight.ndim == 2 else np.moveaxis(weight, 1, 0).reshape(weight.shape[1], -1)
        largest = int(np.abs(weight.astype(int)).max(initial=1))
        chosen, offset = instructions.choose(machine.instructions, span, largest)
        columns = weight.shape[3] if weight.ndim == 4 else 1
        sums = [
            [
                _added_together(longer, len(by_channel), columns)
                for longer in with_lengths(instruction, (*usual_lengths(instruction), 16))
                if len(by_channel) % longer.depth == 0 or instruction.lanes_per_channel == 1
            ]
            for instruction in instructions.variants(chosen)
        ]
        if any(sums):
            read_as = (span[0] + offset, span[1] + offset)
            found.append(QuantizedLayer(var.name, arrays.parts[call.args[0]], by_channel, read_as, sums))
    return found


def _added_together(instruction: Instruction, channels: int, columns: int) -> np.ndarray:
    """As `added_together`, (taps, channels): of whole rows of a kernel, where channels do not fill the instruction."""
    taps = columns if channels % instruction.depth else 1
    return added_together(instruction, taps * channels).reshape(taps, channels)
