"""Integer Winograd: its matrices, its proof, and kernels that equal the integer program."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tvm
from cases import (
    ACTIVATION_RANGES,
    SEEDS,
    WEIGHT_LIMITS,
    Activations,
    Epilogue,
    activations,
    epilogues,
    few,
)
from covering import usual
from families import parameters
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layers import Layer, check
from tvm import te

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.choice.tilings import winograd_tilings
from eq_tvm.schedules.common.overflow import INT16_MAX, worst_accumulators
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.processor import ordered_int16
from eq_tvm.schedules.processor.instructions import choose_int16
from eq_tvm.schedules.winograd import winograd_schedule
from eq_tvm.schedules.winograd.winograd import textbook, winograd_conv
from eq_tvm.schedules.winograd.winograd_form import (
    F23,
    F34,
    F43,
    FORMS,
    Winograd,
    is_exact,
    largest_activation,
    phases,
    transformed_weights,
)
from eq_tvm.schedules.winograd.winograd_plan import WinogradPlan, fits
from eq_tvm.schedules.winograd.winograd_weights import constants

FAMILIES = pytest.mark.parametrize(
    "family",
    parameters(["pmaddwd-256", "pmaddwd-512", "vpdpbusd-256", "vpdpbusd-512", "smlal"]),
    indirect=True,
)
BY_FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
FACTOR = {F23: 2, F43: 24, F34: 24}  # of the result of one axis
SHAPES = [(3, 1), (3, 1), (5, 2), (6, 2), (4, 1), (7, 2), (8, 2), (10, 3)]  # of kernels, with their strides

# Lavin and Gray, arXiv 1509.09308; F(3,4) by the same points, as its transposed, their F(4,3).
PUBLISHED_B = {
    F23: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    F43: [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
}
PUBLISHED_B[F34] = PUBLISHED_B[F43]
PUBLISHED_A = {
    F23: [[1, 1, 1, 0], [0, 1, -1, -1]],
    F43: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    F34: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 1]],
}
PUBLISHED_G = {  # times the factor
    F23: [[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]],
    F43: [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
    F34: [[6, 0, 0, 0], [-4, -4, -4, -4], [-4, 4, -4, 4], [1, 2, 4, 8], [1, -2, 4, -8], [0, 0, 0, 24]],
}


@dataclass(frozen=True)
class Case(Layer):
    """A layer and the way to compute it; `tiling`: which of the possible ones, modulo their number.

    `m` tells one form from another for the same kernel.
    """

    m: int = 4
    tiling: int = 0

    @property
    def form(self) -> Winograd:
        fitting = [form for form in FORMS if fits(self.conv, form)]
        return next((form for form in fitting if form.m == self.m), fitting[0])

    def job(self, family, numbers=None):
        """The kernel for the family, its arguments, and the expected result."""
        numbers = numbers or self.numbers(family.features)
        instruction = choose_int16(family.features)
        tilings = list(winograd_tilings(self.conv, self.form, instruction))
        plan = WinogradPlan(self.conv, self.form, instruction, numbers.output, tilings[self.tiling % len(tilings)])
        packed = constants(plan, phases(numbers.weight, plan.stride), numbers.bias, numbers.multiplier)
        arguments = numbers.arguments(self.conv.nhwc_shape, *packed)
        return winograd_conv(plan, 0, self.activations.dtype), arguments, numbers.expected


@st.composite
def convolutions(draw) -> Conv2D:
    """Layers with tiles that end beyond the edge, and channels that fill no vector."""
    size, stride = draw(st.sampled_from(SHAPES))
    padding = draw(st.one_of(st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1)]), st.tuples(*[st.integers(0, size - 1)] * 4)))
    top, left, bottom, right = padding
    height = draw(st.integers(max(1, size - top - bottom), 9 * stride + 8))
    width = draw(st.integers(max(1, size - left - right), 9 * stride + 8))
    channels = st.one_of(st.integers(1, 70), st.sampled_from([16, 32, 64]))
    inputs = st.integers(1, 9) if stride > 1 else channels
    return Conv2D(
        draw(st.integers(1, 2)),
        height,
        width,
        draw(inputs),
        draw(channels),
        (size, size),
        (stride, stride),
        padding=padding,
    )


def cases():
    return st.builds(
        Case,
        convolutions(),
        activations(wide=False),
        st.sampled_from(WEIGHT_LIMITS),
        st.sampled_from(["random", "extreme"]),
        epilogues(),
        st.booleans(),
        st.just(False),
        SEEDS,
        st.sampled_from([2, 4]),
        SEEDS,
    )


USUAL = (
    [Case(Conv2D(1, 14, 14, 64, 64, (3, 3), padding=(1, 1, 1, 1)), tiling=t, m=m) for m in (4, 2) for t in (0, 5)]
    + [
        Case(
            Conv2D(1, 8, 8, 48, 32, (3, 3), padding=(1, 1, 1, 1)),
            Activations(low, high, dtype, values),
            127,
            "extreme",
            Epilogue("float32", -np.inf, np.inf),
        )
        for low, high, dtype in ((-128, 127, "int8"), (0, 255, "uint8"))
        for values in ("low", "high", "both")
    ]
    + [
        Case(Conv2D(1, 4, 9, 1, 17, (3, 3)), Activations(-63, 63, "int8"), tiling=t, m=m)
        for m in (4, 2)
        for t in (0, 1)
    ]
    + [
        Case(
            Conv2D(2, 1, 1, 3, 5, (3, 3), padding=(1, 1, 1, 1)),
            Activations(0, 255, "uint8"),
            epilogue=Epilogue("uint8", 0, 255, Activations(-63, 63, "int8"), 0.7),
            m=2,
        ),
    ]
    + [
        Case(
            Conv2D(1, 23, 20, inputs, 40, (size, size), (stride, stride), padding=(size // 2,) * 4),
            Activations(0, 255, "uint8", values),
            127,
            "extreme",
            Epilogue("float32", -np.inf, np.inf),
            tiling=tiling,
        )
        for inputs, (size, stride) in ((3, (7, 2)), (3, (6, 2)), (5, (4, 1)), (20, (5, 2)))
        for values, tiling in (("high", 0), ("both", 9))
    ]
)


@FAMILIES
@given(st.lists(cases(), min_size=1, max_size=6))
@example(USUAL)
@few(3)
def test_equals_the_integer_program(family, folder, drawn):
    for case in drawn:
        numbers = case.numbers()
        assert is_exact(case.form, phases(numbers.weight, case.conv.strides[0]), numbers.bias, case.span)
    check(family, folder, drawn, [case.job(family) for case in drawn])


@pytest.mark.parametrize("family", ["smlal-in-order"], indirect=True)
@pytest.mark.parametrize("steps", [pytest.param(n, marks=usual(n in (3, 12))) for n in (2, 3, 4, 10, 12)])
def test_ordered(family, folder, steps):
    """Each way to write the products down, in one piece or in several."""
    conv = Conv2D(1, 9, 10, 8 * steps, 20, (3, 3), padding=(1, 1, 1, 1))
    tilings = list(winograd_tilings(conv, F23, choose_int16(family.features)))
    drawn = [
        Case(conv, tiling=n, m=2)
        for n, tiling in enumerate(tilings)
        if tiling.pieces and (tiling.chunk == 5 or not tiling.ahead)
    ]
    assert {(tilings[case.tiling].tile, tilings[case.tiling].vectors) for case in drawn} == {*ordered_int16.TILINGS}
    check(family, folder, drawn, [case.job(family) for case in drawn])


@FAMILIES
def test_large_inputs_are_fetched_early(family, folder, monkeypatch):
    """V's next rows, and those behind its end, where there is nothing: no result changes."""
    monkeypatch.setattr(winograd_schedule, "SPILLED", 0)
    drawn = [Case(USUAL[0].conv, tiling=tiling) for tiling in (0, 7, 14)]
    jobs = [case.job(family) for case in drawn]
    fetched = any(re.search(r"prefetch\(T.address_of\(v\[", function.script()) for function, *_ in jobs)
    assert fetched == (family.features != {"smlal"})
    check(family, folder, drawn, jobs)


@FAMILIES
def test_at_the_bounds(family, folder):
    """Tiles that reach the largest transformed activation, with the largest weights there may be."""
    drawn, jobs = [], []
    for form in FORMS:
        for low, high in ACTIVATION_RANGES:
            activation = Activations(low, high, "uint8" if high > 127 else "int8")
            conv = Conv2D(1, form.alpha, form.alpha, 18, 16, (form.taps, form.taps))
            case = Case(conv, activation, 127, epilogue=Epilogue("float32", -np.inf, np.inf), m=form.m)
            tile, _ = _largest_tile(form, case.span)
            x = np.broadcast_to(tile[None, :, :, None], (1, *tile.shape, 18)).astype(activation.dtype)
            numbers = case.with_numbers(x, *_largest_weights(conv))
            drawn.append(case)
            jobs.append(case.job(family, numbers))
    check(family, folder, drawn, jobs)


@FAMILIES
@BY_FORM
def test_the_largest_accumulator(family, folder, form):
    """Where 2^shift times the worst accumulator just fits, a concrete input reaches it and the result is exact.

    By one larger, the form is refused, and others are left to choose from.
    """
    taps = form.taps
    conv = Conv2D(1, 6, 6, 4, 16, (taps, taps))
    weight = np.random.default_rng(0).integers(-63, 64, (16, 4, taps, taps)).astype("int8")
    case = Case(conv, Activations(-63, 63, "int8"), epilogue=Epilogue("float32", -np.inf, np.inf), m=form.m)
    reach = worst_accumulators(weight, np.zeros(16, "int64"), case.span)
    room = (2**31 - 1 >> form.shift) - reach
    bias = np.where(np.arange(16) % 2, -room, room).astype("int32")  # least and greatest accumulators

    x = np.zeros((1, 6, 6, 4), "int8")
    for channel, sign in ((6, 1), (7, -1)):
        case = replace(case, seed=channel)
        x[0, 1 : 1 + taps, 2 : 2 + taps] = (63 * sign * np.sign(weight[channel])).transpose(1, 2, 0)
        numbers = case.with_numbers(x, weight, bias)
        acc = numbers.expected / numbers.multiplier
        assert np.isclose(abs(acc[0, 1, 2, channel]), (2**31 - 1) >> form.shift, rtol=1e-6)
        assert is_exact(form, weight, bias, case.span)
        check(family, folder, [case], [case.job(family, numbers)])

    bias[3] -= 1
    assert not is_exact(form, weight, bias, case.span)
    found = convolution_candidates(
        conv, weight, bias, np.ones(16, "float32"), Stored("int8", -63, 63), numbers.output, family.machine
    )
    left = {candidate.name.split()[0] for candidate in found} - {"rows"}  # which multiply sums by 2 only
    assert left == ({"direct", "F(2,3)"} if form is F43 else {"direct"})


@BY_FORM
@given(st.sampled_from([*ACTIVATION_RANGES, (0, 0), (-7, 3), (5, 100)]))
@settings(max_examples=20)
def test_largest_activation_is_reached(form, span):
    tile, place = _largest_tile(form, span)
    assert tile.min() >= span[0] and tile.max() <= span[1]
    assert abs(_transformed(form, tile)[place]) == largest_activation(form, span)


@BY_FORM
@given(st.tuples(st.integers(-128, 0), st.integers(0, 255)), SEEDS)
@settings(max_examples=50)
def test_no_activation_is_larger(form, span, seed):
    tile = np.random.default_rng(seed).integers(span[0], span[1] + 1, (form.alpha, form.alpha))
    assert np.abs(_transformed(form, tile)).max() <= largest_activation(form, span) <= INT16_MAX


@BY_FORM
def test_transformed_int8_weights_fit(form):
    weight, _ = _largest_weights(Conv2D(1, form.taps, form.taps, 18, 16, (form.taps, form.taps)))
    assert np.abs(transformed_weights(form, weight)).max() <= INT16_MAX


@BY_FORM
def test_transforms_that_do_not_fit_are_refused(form):
    """What int16 can't hold, be it activations (of more than 8 bits) or weights."""
    weight, bias = np.ones((1, 1, form.taps, form.taps), "int8"), np.zeros(1, "int32")
    end = next(end for end in range(1, 2**16) if largest_activation(form, (-end, end)) > INT16_MAX)
    assert is_exact(form, weight, bias, (1 - end, end - 1)) and not is_exact(form, weight, bias, (-end, end))
    wide = replace(form, g=form.g * 8)
    assert is_exact(wide, weight, bias, (0, 1)) and not is_exact(wide, np.full_like(weight, 127), bias, (0, 1))


@BY_FORM
def test_matrices_are_the_published_ones(form):
    """But for the factor of each axis, which stands in G, or where it does not fit int16, in A^T."""
    np.testing.assert_array_equal(form.bt, PUBLISHED_B[form])
    assert pow(form.inverse, -1, 2**32) << form.shift == FACTOR[form] ** 2
    at = form.at
    scale = at / np.where(np.array(PUBLISHED_A[form]) == 0, 1, PUBLISHED_A[form])
    np.testing.assert_array_equal(at == 0, np.array(PUBLISHED_A[form]) == 0)
    moved = scale.max(0)  # what each column of A^T has of the factor
    np.testing.assert_array_equal(at, moved * PUBLISHED_A[form])
    np.testing.assert_array_equal(form.g * moved[:, None], PUBLISHED_G[form])


@BY_FORM
@given(SEEDS)
@settings(max_examples=25)
def test_a_tile_is_the_factor_times_the_correlation(form, seed):
    rng = np.random.default_rng(seed)
    d, w = rng.integers(-255, 256, (form.alpha, form.alpha)), rng.integers(-127, 128, (form.taps, form.taps))
    at, v = form.at, _transformed(form, d)
    product = transformed_weights(form, w[None, None])[:, :, 0, 0] * v
    windows = np.lib.stride_tricks.sliding_window_view(d, w.shape)
    np.testing.assert_array_equal(at @ product @ at.T, FACTOR[form] ** 2 * (windows * w).sum((2, 3)))
    unit = np.zeros_like(v)
    unit[1, 1] = 1
    assert (at @ unit @ at.T == 1).all()  # where the bias goes


@BY_FORM
@given(SEEDS)
@settings(max_examples=3, deadline=None)
def test_textbook(form, seed):
    """The algorithm that the kernels are a form of: factor^2 times the correlation."""
    rng, taps = np.random.default_rng(seed), form.taps
    shape = 2, 2 * form.m + taps - 1, 3 * form.m + taps - 1, 3
    x, w = rng.integers(-255, 256, shape, "int32"), rng.integers(-127, 128, (4, 3, taps, taps))
    arguments = [x, *(array.astype("int32") for array in (transformed_weights(form, w), form.bt, form.at))]
    tensors = [te.placeholder(array.shape, "int32") for array in arguments]
    built = tvm.tirx.build(te.create_prim_func([*tensors, textbook(*tensors)]), target="llvm")
    got = tvm.runtime.empty((2, 2 * form.m, 3 * form.m, 4), "int32")
    built(*map(tvm.runtime.tensor, arguments), got)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype("int64"), (taps, taps), (1, 2))
    expected = FACTOR[form] ** 2 * np.einsum("nhwcij,ocij->nhwo", windows, w)
    np.testing.assert_array_equal(got.numpy(), expected.astype("int32"))  # modulo 2^32


def test_shapes_that_fit():
    conv = Conv2D(1, 8, 8, 4, 6, (3, 3))
    assert fits(conv, F43) and fits(replace(conv, padding=(0, 1, 2, 3)), F23) and not fits(conv, F34)
    for change in ({"kernel": (3, 2)}, {"strides": (1, 2)}, {"dilation": (2, 2)}, {"groups": 2}):
        assert not any(fits(replace(conv, **change), form) for form in FORMS)
    for size, stride in SHAPES:
        strided = replace(conv, kernel=(size, size), strides=(stride, stride))
        assert fits(strided, F34 if size in (4, 7, 8, 10) else F43)


@given(st.sampled_from(SHAPES), SEEDS)
@settings(max_examples=30)
def test_phases(shape, seed):
    """Without a stride, the same sums of products on as many more channels."""
    (size, stride), rng = shape, np.random.default_rng(seed)
    weight, taps = rng.integers(-127, 128, (2, 3, size, size)), -(-size // stride)
    x = rng.integers(-128, 128, (3, stride * (taps + 2), stride * (taps + 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]
    expected = np.einsum("chwij,ocij->ohw", windows, weight)
    parts = x.reshape(3, taps + 2, stride, taps + 1, stride).transpose(2, 4, 0, 1, 3).reshape(-1, taps + 2, taps + 1)
    windows = np.lib.stride_tricks.sliding_window_view(parts, (taps, taps), (1, 2))
    got = np.einsum("chwij,ocij->ohw", windows, phases(weight, stride))
    np.testing.assert_array_equal(got, expected[:, : got.shape[1], : got.shape[2]])


def _transformed(form, tile):
    return form.bt @ tile @ form.bt.T


def _largest_tile(form, span):
    """Activations (alpha, alpha) that make one element of B^T x B as large as it can be, and its place."""
    found = []
    for place in np.ndindex(form.alpha, form.alpha):
        factors = np.outer(form.bt[place[0]], form.bt[place[1]])
        for least, greatest in (span, span[::-1]):
            tile = np.where(factors < 0, least, greatest)
            found.append((abs(_transformed(form, tile)[place]), place, tile))
    _, place, tile = max(found, key=lambda entry: entry[0])
    return tile, place


def _largest_weights(conv):
    """Weights of +-127 in the patterns of signs that G's rows have, and no bias."""
    alternating = (-1) ** np.arange(conv.kernel[0])
    rows = [np.ones_like(alternating), alternating]
    rows += [-row for row in rows]
    patterns = np.array([np.outer(a, b) for a in rows for b in rows])
    shape = conv.out_channels, conv.in_channels, *conv.kernel
    weight = np.broadcast_to(127 * patterns[:, None], shape).astype("int8")
    return weight, np.zeros(conv.out_channels, "int32")
