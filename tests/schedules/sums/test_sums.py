"""Direct convolutions that multiply sums of activations and weights: equal to the integer program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from cases import INT6_RANGES, INT7, SEEDS, Activations, Epilogue, epilogues, few, stored_dtypes
from families import OF_SUMS
from hypothesis import example, given
from hypothesis import strategies as st
from layers import Layer, check, convolutions

from eq_tvm.schedules.choice.candidates import Stored, considered
from eq_tvm.schedules.convolution.conv2d import Conv2D

FITTING = [(0, 127), (-63, 63), (-100, 27), *INT6_RANGES]
WIDER = [((0, 129), 63), ((0, 130), 63), ((0, 255), 63), ((-127, 127), 63), ((0, 127), 127)]


@dataclass(frozen=True)
class OfSums(Layer):
    """A layer, and which of the tilings, modulo their number."""

    tiling: int = 0

    def found(self, numbers):
        stored = Stored(self.activations.dtype, *self.span)
        form = numbers.bias, numbers.multiplier, stored, numbers.output, OF_SUMS.machine
        every = considered(self.conv, numbers.weight, *form)
        return [each for each in every if each.instruction.startswith("vpdpbusd_sums_512")]

    def job(self):
        numbers = self.numbers(OF_SUMS.features)
        found = self.found(numbers)
        chosen = found[self.tiling % len(found)]
        assert chosen.is_proven
        arguments = numbers.arguments(self.conv.out_shape, *chosen.constants())
        return chosen.make(), arguments, numbers.expected.reshape(self.conv.out_shape)


@st.composite
def cases(draw):
    low, high = draw(st.sampled_from(FITTING))
    dtype, values = draw(st.sampled_from(stored_dtypes(low, high))), draw(st.sampled_from(["random", "low", "high"]))
    return OfSums(
        draw(convolutions().filter(lambda conv: conv.groups == 1)),
        Activations(low, high, dtype, values),
        draw(st.sampled_from([63, 31, 7])),
        draw(st.sampled_from(["random", "extreme", "small"])),
        draw(epilogues()),
        seed=draw(SEEDS),
        tiling=draw(SEEDS),
    )


# Rows that no tile divides, results that are packed, a stem, windows with padding, few channels.
USUAL = [
    OfSums(Conv2D(1, 1, 23, 64, 96), tiling=7),
    OfSums(Conv2D(2, 4, 4, 128, 64), epilogue=Epilogue("uint8", 0, 127), tiling=-1),
    OfSums(Conv2D(1, 12, 15, 3, 24, (3, 3), (2, 2), (1, 1, 1, 1)), Activations(-63, 63, "int8", "low"), tiling=5),
    OfSums(Conv2D(1, 6, 7, 32, 40, (3, 3), (1, 1), (1, 1, 1, 1), (2, 2)), INT7, 63, "extreme", tiling=3),
    OfSums(Conv2D(1, 3, 5, 5, 7), Activations(-63, 63, "int8", "high"), 63, "extreme"),
    OfSums(Conv2D(1, 1, 3, 515, 33), Activations(0, 127, "uint8", "high"), 63, "extreme", tiling=2),
]


@given(st.lists(cases(), min_size=1, max_size=8))
@example(USUAL)
@few(4)
def test_equals_the_integer_program(folder, drawn):
    if OF_SUMS.lacking:
        pytest.skip(f"this processor lacks {', '.join(OF_SUMS.lacking)}")
    check(OF_SUMS, folder, drawn, [case.job() for case in drawn])


@pytest.mark.parametrize("span, limit", WIDER)
def test_wider_ranges_are_not_proven(span, limit):
    layer = OfSums(Conv2D(1, 5, 5, 16, 16), Activations(*span, stored_dtypes(*span)[-1]), limit)
    numbers = layer.numbers(OF_SUMS.features)
    fits = span[1] - span[0] + np.ptp(numbers.weight.astype("int32")) <= 255
    assert {candidate.is_proven for candidate in layer.found(numbers)} == {fits}
    assert fits == (span == (0, 129))
