"""Convolutions that multiply sums of activations and weights, direct and Winograd's: equal to the integer program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from cases import INT6_RANGES, INT7, SEEDS, Activations, Epilogue, epilogues, few, stored_dtypes
from families import OF_SUMS, OF_SUMS_ON_ARM
from hypothesis import example, given
from hypothesis import strategies as st
from layers import Layer, check, convolutions

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import considered
from eq_tvm.schedules.choice.peak import peak_kernel
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.processor.instructions import named

FITTING = [(0, 127), (-63, 63), (-100, 27), *INT6_RANGES]
WIDER = [((0, 129), 63), ((0, 130), 63), ((0, 255), 63), ((-127, 127), 63), ((0, 127), 127)]


@dataclass(frozen=True)
class OfSums(Layer):
    """A layer, and which of the algorithms and tilings, modulo their number."""

    algorithm: int = 0
    tiling: int = 0

    def found(self, numbers, family=OF_SUMS):
        """Candidates of each algorithm."""
        machine, stored = family.machine, Stored(self.activations.dtype, *self.span)
        every = considered(self.conv, numbers.weight, numbers.bias, numbers.multiplier, stored, numbers.output, machine)
        found = {}
        for each in every:
            if "_sums_" in each.instruction:
                found.setdefault(each.algorithm, []).append(each)
        return found

    def job(self, family):
        numbers = self.numbers(family.features)
        algorithms = [found for found in self.found(numbers, family).values() if found[0].is_proven]
        candidates = algorithms[self.algorithm % len(algorithms)]
        chosen = candidates[self.tiling % len(candidates)]
        arguments = numbers.arguments(self.conv.out_shape, *chosen.constants())
        return chosen.make(), arguments, numbers.expected.reshape(self.conv.out_shape)


@st.composite
def squares(draw) -> Conv2D:
    """3x3 layers, as Winograd's algorithm takes them."""
    channels, size = st.sampled_from([1, 7, 16, 32, 40, 64]), st.integers(3, 15)
    padding = draw(st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 0)]))
    return Conv2D(1, draw(size), draw(size), draw(channels), draw(channels), (3, 3), padding=padding)


@st.composite
def cases(draw, shapes):
    low, high = draw(st.sampled_from(FITTING))
    dtype, values = draw(st.sampled_from(stored_dtypes(low, high))), draw(st.sampled_from(["random", "low", "high"]))
    return OfSums(
        draw(shapes),
        Activations(low, high, dtype, values),
        draw(st.sampled_from([63, 31, 7])),
        draw(st.sampled_from(["random", "extreme", "small"])),
        draw(epilogues()),
        seed=draw(SEEDS),
        algorithm=draw(SEEDS),
        tiling=draw(SEEDS),
    )


# Rows that no tile divides, results that are packed, a stem, windows with padding, few channels.
USUAL = [
    OfSums(Conv2D(1, 1, 23, 64, 96), tiling=7),
    OfSums(Conv2D(2, 4, 4, 128, 64), epilogue=Epilogue("uint8", 0, 127), tiling=-1),
    OfSums(Conv2D(1, 12, 15, 3, 24, (3, 3), (2, 2), (1, 1, 1, 1)), Activations(-63, 63, "int8", "low"), tiling=5),
    OfSums(Conv2D(1, 6, 7, 32, 40, (3, 3), (1, 1), (1, 1, 1, 1), (2, 2)), INT7, 63, "extreme", tiling=3),
    OfSums(Conv2D(1, 3, 5, 5, 7), Activations(-63, 63, "int8", "high"), 63, "extreme"),
    OfSums(Conv2D(1, 4, 5, 24, 7), Activations(-100, 27, "int8"), 63, "extreme"),
    OfSums(Conv2D(1, 1, 3, 515, 33), Activations(0, 127, "uint8", "high"), 63, "extreme", tiling=2),
    *(
        OfSums(Conv2D(1, 9, 11, 32, 40, (3, 3), padding=(1, 1, 1, 1)), algorithm=i, tiling=j)
        for i in (0, 1, 2)
        for j in (0, -1)
    ),
    *(
        OfSums(Conv2D(1, 7, 8, 32, 16, (3, 3)), Activations(0, 255, "uint8", values), 127, algorithm=i)
        for values in ("high", "both")
        for i in (0, 1)
    ),
    *(
        OfSums(Conv2D(1, 6, 6, 64, 16, (3, 3)), Activations(0, 127, "uint8", "high"), 63, "extreme", algorithm=i)
        for i in (1, 2)
    ),
]


ANY = st.one_of(convolutions().filter(lambda conv: conv.groups == 1), squares())


@given(st.lists(cases(ANY), min_size=1, max_size=8))
@example(USUAL)
@few(4)
def test_equals_the_integer_program(folder, drawn):
    if OF_SUMS.lacking:
        pytest.skip(f"this processor lacks {', '.join(OF_SUMS.lacking)}")
    check(OF_SUMS, folder, drawn, [case.job(OF_SUMS) for case in drawn])


@given(st.lists(cases(squares()), min_size=1, max_size=4))
@example([case for case in USUAL if case.conv.kernel == (3, 3) and case.conv.strides == case.conv.dilation == (1, 1)])
@few(2)
def test_equals_it_on_arm(folder, aarch64, drawn):
    del aarch64  # skips, or fails in CI, where nothing can be emulated
    check(OF_SUMS_ON_ARM, folder, drawn, [case.job(OF_SUMS_ON_ARM) for case in drawn])


@pytest.mark.parametrize("span, limit", WIDER)
def test_wider_ranges_are_not_proven(span, limit):
    layer = OfSums(Conv2D(1, 5, 5, 16, 16), Activations(*span, stored_dtypes(*span)[-1]), limit)
    numbers = layer.numbers(OF_SUMS.features)
    fits = span[1] - span[0] + np.ptp(numbers.weight.astype("int32")) <= 255
    assert {candidate.is_proven for candidate in layer.found(numbers)["direct"]} == {fits}
    assert fits == (span == (0, 129))


def test_transformed_sums_may_be_too_wide():
    """Winograd's F(4, 3) fits 16 bits with INT7, with INT8 where no nine weights of a filter are all large."""
    conv, proven = Conv2D(1, 8, 8, 16, 16, (3, 3)), {}
    for span, limit, values in (((0, 127), 63, "extreme"), ((0, 255), 127, "random"), ((0, 255), 127, "extreme")):
        layer = OfSums(conv, Activations(*span, "uint8"), limit, values)
        found = layer.found(layer.numbers(OF_SUMS.features))["F(4,3)"]
        proven[limit, values] = {each.is_proven for each in found}
    assert proven == {(63, "extreme"): {True}, (127, "random"): {True}, (127, "extreme"): {False}}


def test_they_have_a_peak(folder):
    """Of ones: (1 + 1) (1 + 1) of each two channels, less what a pixel has by itself: 1 (1 - 128), 1 of int16."""
    if OF_SUMS.lacking:
        pytest.skip(f"this processor lacks {', '.join(OF_SUMS.lacking)}")
    for name, of_two in {"vpdpbusd_sums_512": 131, "vpdpbusd_sums_512_signed": 131, "vpdpwssd_sums_512": 3}.items():
        func, macs = peak_kernel(named(name, OF_SUMS.features), OF_SUMS.machine)
        *_, multiplier, _, result = shapes = [[int(extent) for extent in each.shape] for each in func.params]
        x, weights = (np.ones(shape, str(each.dtype)) for shape, each in zip(shapes[:2], func.params, strict=False))
        channels = np.zeros(multiplier, "int32"), np.ones(multiplier, "float32")
        (got,) = OF_SUMS.run(folder, [(func, [x, weights, *channels, np.array([-np.inf, np.inf], "float32")])])
        np.testing.assert_array_equal(got, np.full_like(got, macs / np.prod(result) / 2 * of_two))
