"""Winograd along rows over bytes: its algorithm, its proof, and kernels that equal the integer program."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from cases import SEEDS, Activations, Epilogue, activations, epilogues, few
from families import FAMILIES, parameters
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layers import Layer, accumulators, check

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import considered, convolution_candidates
from eq_tvm.schedules.choice.tilings import rowwise_tilings
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.processor.instructions import choose, variants
from eq_tvm.schedules.rowwise import rowwise_form
from eq_tvm.schedules.rowwise.rowwise_conv import rowwise_conv
from eq_tvm.schedules.rowwise.rowwise_plan import RowwisePlan, constants, fits, serves
from eq_tvm.schedules.winograd.winograd_form import F23

BY_FAMILY = pytest.mark.parametrize("family", parameters(["sdot", "vpdpbusd-256", "vpdpbusd-512"]), indirect=True)


@dataclass(frozen=True)
class Case(Layer):
    """A layer and the way to compute it.

    Parameters
    ----------
    instruction, tiling : int
        Which of the possible ones, modulo their number.
    halved : int
        One of so many output channels has even sums of weights; none for 0.
    """

    instruction: int = 0
    tiling: int = 0
    halved: int = 0

    @property
    def padded_span(self) -> tuple[int, int]:
        return min(self.span[0], 0), max(self.span[1], 0)

    def numbers(self, features=()):
        found = super().numbers(features)
        if self.halved:
            some = found.weight[:: self.halved]
            some[..., 2] += np.where(some[..., 2] > 0, -1, 1) * (some.sum(3) % 2)
            found = self.with_numbers(found.x, found.weight, found.bias, features)
        return found

    def job(self, family, numbers=None):
        """The kernel for the family, its arguments, and the expected result."""
        numbers, span = numbers or self.numbers(family.features), self.padded_span
        chosen, offset = choose(family.features, rowwise_form.centered_range(span), rowwise_form.BYTE)
        possible = [each for each in variants(chosen) if serves(each)]
        ins = possible[self.instruction % len(possible)]
        tilings = list(rowwise_tilings(self.conv, ins))
        weights = rowwise_form.transformed_weights(numbers.weight)
        tiling = tilings[self.tiling % len(tilings)]
        plan = RowwisePlan(self.conv, ins, numbers.output, tiling, weights.appended, offset)
        packed = constants(plan, weights, span, numbers.bias, numbers.multiplier)
        arguments = numbers.arguments(self.conv.nhwc_shape, *packed)
        return rowwise_conv(plan, span, 0, self.activations.dtype), arguments, numbers.expected


@st.composite
def convolutions(draw) -> Conv2D:
    """Rows that end within a pair or a tile, and channels that fill no vector."""
    padding = draw(st.one_of(st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1)]), st.tuples(*[st.integers(0, 2)] * 4)))
    kernel, stride = draw(st.sampled_from([3, 3, 1, 2])), draw(st.sampled_from([1, 1, 2]))
    top, left, bottom, right = padding
    height = draw(st.integers(max(1, kernel - top - bottom), 12))
    width = draw(st.integers(max(1, 3 - left - right), 17))
    channels = st.one_of(st.integers(1, 70), st.sampled_from([16, 32, 64]))
    return Conv2D(
        draw(st.integers(1, 2)), height, width, draw(channels), draw(channels), (kernel, 3), (stride, 1), padding
    )


def cases():
    return st.builds(
        Case,
        convolutions(),
        activations(wide=False).filter(lambda each: each.high - min(each.low, 0) <= rowwise_form.BYTE),
        st.sampled_from([63, 31]),
        st.sampled_from(["random", "extreme", "small"]),
        epilogues(),
        st.booleans(),
        st.just(False),
        SEEDS,
        SEEDS,
        SEEDS,
        st.integers(0, 3),
    )


USUAL = [
    *(Case(Conv2D(1, 14, 14, 64, 64, (3, 3), padding=(1, 1, 1, 1)), tiling=t, instruction=t) for t in (0, 7, 20)),
    *(
        Case(
            Conv2D(1, 8, 8, 48, 32, (3, 3), padding=(1, 1, 1, 1)),
            Activations(low, high, dtype, values),
            63,
            "extreme",
            Epilogue("float32", -np.inf, np.inf),
            halved=halved,
        )
        for halved in (0, 1, 2)
        for low, high, dtype in ((-63, 63, "int8"), (0, 127, "uint8"))
        for values in ("low", "high", "both")
    ),
    Case(
        Conv2D(2, 1, 1, 3, 5, (3, 3), padding=(1, 1, 1, 1)),
        epilogue=Epilogue("uint8", 0, 255, Activations(-63, 63, "int8"), 0.7),
    ),
    Case(Conv2D(1, 5, 6, 20, 40, (3, 3), padding=(1, 1, 1, 1)), Activations(30, 127, "uint8")),  # 0 is in no activation
]


@BY_FAMILY
@given(st.lists(cases(), min_size=1, max_size=6))
@example(USUAL)
@few(3)
def test_equals_the_integer_program(family, folder, drawn):
    for case in drawn:
        numbers = case.numbers()
        assert all(p.holds for p in rowwise_form.proofs(numbers.weight, numbers.bias, case.padded_span))
    check(family, folder, drawn, [case.job(family) for case in drawn])


@given(convolutions(), st.sampled_from([(0, 127), (-63, 63)]), st.integers(0, 3), SEEDS)
@settings(max_examples=30)
def test_the_algorithm(conv, span, halved, seed):
    """What is multiplied fits a byte, and gives the accumulators or twice those, wherever the activations lie."""
    case = Case(conv, Activations(*span, "int8", "both"), seed=seed, halved=halved)
    numbers = case.numbers()
    weights = rowwise_form.transformed_weights(numbers.weight)
    assert np.abs(weights.u).max() <= rowwise_form.BYTE
    top, left, bottom, right = conv.padding
    x = np.pad(numbers.x.astype("int64"), ((0, 0), (top, bottom), (left, right + 3), (0, 0)))
    x = np.concatenate([x, x[..., list(weights.appended)]], axis=-1)
    zero = np.zeros(conv.out_channels, "int32")
    expected = accumulators(conv, numbers.x, numbers.weight, zero) << weights.shift
    assert not (halved and weights.shift[::halved].any())
    bt, at = F23.bt, F23.at
    for w in range(0, conv.out_width, 2):
        v = np.einsum("pk,nhkc->nhpc", bt, x[:, :, w : w + 4])
        centered = v - np.array(rowwise_form.middle(span))[:, None]
        assert np.abs(centered).max() <= rowwise_form.BYTE
        for h in range(conv.out_height):
            rows = v[:, h * conv.strides[0] : h * conv.strides[0] + conv.kernel[0]]
            y = np.einsum("rp,nhpc,pohc->nro", at, rows, weights.u)
            got = expected[:, h, w : w + 2]
            np.testing.assert_array_equal(y[:, : got.shape[1]], got)


def test_only_weights_beyond_a_byte_are_appended():
    weight = np.zeros((2, 5, 3, 3), "int8")
    weight[0, 1, 2] = 63, 63, 1  # 127 together
    weight[1, 3, 0] = 63, 63, 2
    weight[1, 4, 0] = 63, -63, 63
    assert rowwise_form.transformed_weights(weight).appended == (3, 4)


def test_even_sums_are_halved_so_that_all_weights_of_7_bits_fit():
    weight = np.full((2, 4, 3, 3), 63, "int8")
    weight[0, ..., 1] = 62
    weights = rowwise_form.transformed_weights(weight)
    assert weights.shift.tolist() == [0, 1] and np.abs(weights.u[:, 0]).max() == 94
    assert rowwise_form.transformed_weights(weight[:1]).appended == ()


def test_proofs():
    weight, bias = np.full((1, 4, 3, 3), 63, "int8"), np.zeros(1, "int32")
    assert all(proof.holds for proof in rowwise_form.proofs(weight, bias, (0, 127)))
    assert not all(proof.holds for proof in rowwise_form.proofs(weight, bias, (0, 128)))
    assert not all(proof.holds for proof in rowwise_form.proofs(weight + 64, bias, (0, 127)))
    assert not all(proof.holds for proof in rowwise_form.proofs(weight, bias + 2**30, (0, 127)))


@pytest.mark.parametrize("change", [{"kernel": (3, 5)}, {"strides": (1, 2)}, {"dilation": (1, 2)}, {"groups": 2}])
def test_of_three_columns(change):
    conv = Conv2D(1, 14, 14, 64, 64, (3, 3), padding=(1, 1, 1, 1))
    assert fits(conv) and not fits(replace(conv, **change))


def test_is_a_candidate_where_it_saves_products():
    """On processors that multiply 16 bits slowly, and only where the sums fit."""
    rng, conv = np.random.default_rng(0), Conv2D(1, 14, 14, 256, 256, (3, 3), padding=(1, 1, 1, 1))
    weight = np.clip(np.rint(rng.standard_normal((256, 256, 3, 3)) * 17), -63, 63).astype("int8")
    layer = conv, weight, np.zeros(256, "int32"), np.full(256, 1e-4, "float32")
    machine, output = FAMILIES["sdot"].machine, Output("uint8")
    best = convolution_candidates(*layer, Stored("uint8", 0, 127), output, machine)[0]
    appended = len(rowwise_form.transformed_weights(weight).appended)
    assert best.algorithm == "rows F(2,3)" and 0 < appended < 32
    assert 1 <= best.multiplications / (conv.macs * 2 / 3) <= 1 + (appended + 3) / 256
    assert not any(
        each.algorithm == "rows F(2,3)" for each in considered(*layer, Stored("uint8", 0, 255), output, machine)
    )
