"""Direct convolution and dense layers: equal to the integer program on every multiply instruction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import integer_ops as ops
import numpy as np
import pytest
from cases import (
    INT7,
    SEEDS,
    WEIGHT_LIMITS,
    WORST_CASES,
    Activations,
    Epilogue,
    activations,
    epilogues,
    few,
    integer_outputs,
    stored_dtypes,
)
from families import FAMILIES, parameters
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layers import Layer, accumulators, check, convolutions, nchw, weight_shape
from tvm import te

from eq_tvm.schedules.choice import tilings
from eq_tvm.schedules.choice.chains import longer_chains, ordered
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import INT16_MAX, folded_bias
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.convolution.direct_conv import direct_conv, textbook
from eq_tvm.schedules.convolution.direct_plan import (
    DirectPlan,
    DirectTiling,
    pack_channels,
    pack_weights,
    weight_runs,
)
from eq_tvm.schedules.processor.instructions import choose, fma, named, variants


@dataclass(frozen=True)
class Case(Layer):
    """A layer and the way to compute it.

    Parameters
    ----------
    chain, tiling, chunk : int
        Which of the possible ones, modulo their number. No `chunk`: the one that the cost model takes.
    packed : bool
        A tiling whose results are packed, if there is one.
    """

    chain: int = 0
    tiling: int = 0
    chunk: int | None = None
    packed: bool = False

    def plan(self, family, numbers):
        """The plan and the offset."""
        conv = self.conv
        chosen, offset = choose(family.features, self.span, int(np.abs(numbers.weight.astype("int32")).max()))

        def runs(im2col, instruction):
            plan = DirectPlan(conv, instruction, numbers.output, DirectTiling(1, 1, im2col=im2col))
            return weight_runs(plan, numbers.weight)

        span = self.span[0] + offset, self.span[1] + offset
        chains = [
            (chain, im2col)
            for variant in variants(chosen)
            for im2col in tilings.layouts(conv, variant)
            for chain in (
                *tilings.depths(conv, variant, im2col),
                *longer_chains(variant, partial(runs, im2col), span),
                *(ordered(variant, conv, partial(runs, im2col), span, im2col) if family.in_order else ()),
            )
        ]
        instruction, im2col = chains[self.chain % len(chains)]
        plans = [
            DirectPlan(conv, instruction, numbers.output, tiling)
            for tiling in tilings.direct_tilings(conv, instruction)
            if tiling.im2col == im2col
        ]
        if self.packed:
            plans = [plan for plan in plans if plan.packs] or plans
        return _with_chunk(plans[self.tiling % len(plans)], self.chunk, family.machine), offset

    def job(self, family, plain=False):
        """The kernel for the family, its arguments, and the expected result."""
        conv, numbers = self.conv, self.numbers(family.features)
        plan, offset = self.plan(family, numbers)
        arguments = numbers.arguments(
            conv.out_shape,
            pack_weights(plan, numbers.weight),
            pack_channels(plan, folded_bias(numbers.weight, numbers.bias, self.span, offset)),
            pack_channels(plan, numbers.multiplier),
        )
        func = direct_conv(plan, offset, self.activations.dtype, plain=plain)
        return func, arguments, numbers.expected.reshape(conv.out_shape)


def cases(shapes=convolutions(), outputs=epilogues(), packed=False):  # noqa: B008
    """`packed`: with tilings whose results are packed, where there are such."""
    return st.builds(
        Case,
        shapes,
        activations(),
        st.sampled_from(WEIGHT_LIMITS),
        st.sampled_from(["random", "extreme", "small"]),
        outputs,
        st.booleans(),
        st.booleans(),
        SEEDS,
        st.integers(0, 7),
        SEEDS,
        st.none() | SEEDS,
        st.just(packed),
    )


# Layers as networks have them: stems, the body, projections, a grouped one, heads.
USUAL = [
    Case(Conv2D(1, 20, 21, 3, 24, (3, 3), (2, 2), (1, 1, 1, 1)), Activations(-63, 63, "int8")),
    Case(Conv2D(1, 30, 32, 3, 64, (7, 7), (2, 2), (3, 3, 3, 3)), Activations(-127, 127, "int8"), 127),
    Case(Conv2D(1, 14, 14, 64, 64, (3, 3), (1, 1), (1, 1, 1, 1)), epilogue=Epilogue("int8", 0, 127)),
    Case(Conv2D(1, 14, 14, 32, 128, strides=(2, 2)), Activations(0, 255, "uint8"), 127),
    Case(Conv2D(2, 7, 7, 96, 40).flattened(), epilogue=Epilogue("uint8", 0, 255, Activations(-63, 63, "int8"), 0.7)),
    Case(Conv2D(1, 7, 9, 64, 96, (3, 3), (1, 1), (0, 0, 1, 1), groups=4)),
    Case(Conv2D(1, 3, 4, 24, 16), Activations(-127, 127, "int8", "low"), 127, "extreme", large_bias=True),
    Case(Conv2D(1, 3, 4, 24, 16), Activations(0, 255, "uint8", "high"), 127, "extreme", large_bias=True),
    Case(Conv2D(1, 6, 6, 32, 64, (3, 3)), INT7, 20, "small", chain=-1, tiling=-1, packed=True),
    Case(Conv2D(1, 1, 1, 515, 101), epilogue=Epilogue("float32", -np.inf, np.inf)),
    Case(Conv2D(1, 3, 7, 20, 58), Activations(0, 255, "uint8"), 127, epilogue=Epilogue("uint8", 0, 255)),
    Case(Conv2D(1, 3, 7, 20, 10), epilogue=Epilogue("int8", 0, 127, Activations(0, 127, "uint8"), 0.7)),
]


@given(st.lists(cases(), min_size=1, max_size=8))
@example(USUAL)
@few(3)
def test_equals_the_integer_program(family, folder, drawn):
    _check(family, folder, drawn)


# Pointwise, strided, padded and dilated, a few channels by im2col, grouped.
PLAIN_SHAPES = [
    Conv2D(1, 5, 6, 16, 20),
    Conv2D(2, 6, 7, 8, 16, (3, 3), (2, 1), (1, 0, 1, 2), (1, 2)),
    Conv2D(1, 9, 8, 3, 8, (3, 3), (2, 2), (1, 1, 1, 1)),
    Conv2D(1, 4, 5, 12, 18, (1, 3), groups=3),
]


def test_blocked_forms_equal_the_textbook(family, folder):
    """Forms of each instruction against the definition, which LLVM compiles as it stands."""
    chains, jobs = 3, []
    for conv in PLAIN_SHAPES:
        layer = Case(conv, INT7, epilogue=Epilogue("float32", -np.inf, np.inf), tiling=1)
        numbers = layer.numbers()
        jobs.append((te.create_prim_func(list(textbook(conv))), [numbers.x, numbers.weight]))
        for chain in range(chains):
            plan, offset = replace(layer, chain=chain).plan(family, numbers)
            bias = folded_bias(numbers.weight, np.zeros_like(numbers.bias), layer.span, offset)
            channels = [pack_channels(plan, values) for values in (bias, np.ones_like(numbers.multiplier))]
            arguments = [numbers.x, pack_weights(plan, numbers.weight), *channels, numbers.limits]
            jobs.append((direct_conv(plan, offset, "int8"), arguments))
    results = family.run(folder, jobs)
    for at, conv in enumerate(PLAIN_SHAPES):
        acc, *blocked = results[at * (1 + chains) :][: 1 + chains]
        for got in blocked:
            np.testing.assert_array_equal(got, acc.reshape(conv.out_shape).astype("float32"), err_msg=repr(conv))


@given(st.data())
@few(2)
def test_dense(family, folder, data):
    """A dense layer is a convolution of one row: `flattened` makes it of the images of a batch."""
    size = st.integers(1, 300)
    shapes = st.builds(lambda rows, k, n: Conv2D(rows, 1, 1, k, n).flattened(), st.integers(1, 3), size, size)
    _check(family, folder, data.draw(st.lists(cases(shapes), min_size=3, max_size=6)))


@pytest.mark.parametrize("limit", WORST_CASES)
def test_worst_cases_do_not_overflow(family, folder, limit):
    """All activations at one extreme and all weights at the limit: the largest sums there can be."""
    layers = [Conv2D(1, 1, 5, 64, 16), Conv2D(1, 3, 6, 9, 8, (3, 3), (1, 1), (0, 1, 0, 1))]
    inputs = [
        Activations(low, high, stored_dtypes(low, high)[-1], values)
        for low, high in WORST_CASES[limit]
        for values in ("low", "high")
    ]
    _check(
        family,
        folder,
        [
            Case(layers[i % 2], x, limit, "extreme", Epilogue("float32", -np.inf, np.inf), tiling=3 * i)
            for i, x in enumerate(inputs)
        ],
    )


@st.composite
def whole_blocks(draw) -> Conv2D:
    """Shapes whose output channels come in blocks of 64."""
    groups = draw(st.sampled_from([1, 1, 2]))
    kernel = draw(st.sampled_from([(1, 1), (1, 2), (3, 3)]))
    size = [draw(st.integers(edge, edge + longest)) for edge, longest in zip(kernel, (3, 12), strict=True)]
    channels = groups * draw(st.sampled_from([1, 3, 4, 16, 20])), groups * draw(st.sampled_from([64, 64, 128, 192]))
    return Conv2D(draw(st.integers(1, 2)), *size, *channels, kernel, groups=groups)


@st.composite
def byte_epilogues(draw) -> Epilogue:
    dtype, low, high = draw(integer_outputs(wide=False))
    gain, tied = draw(st.sampled_from([1.0, 0.01, 1000.0])), draw(st.booleans())
    if draw(st.booleans()):
        return Epilogue(dtype, low, high, gain=gain, tied=tied)
    residual = Activations(0, draw(st.sampled_from([127, 255])), "uint8", draw(st.sampled_from(["random", "high"])))
    return Epilogue(dtype, low, high, residual, draw(st.sampled_from([1.0, 0.3, 40.0])), gain, tied)


def bytes_only(case) -> bool:
    return case.span[1] - case.span[0] < 256


@given(
    st.lists(cases().filter(bytes_only), min_size=1, max_size=6),
    st.lists(cases(whole_blocks(), byte_epilogues(), packed=True).filter(bytes_only), min_size=1, max_size=3),
)
@example(USUAL, [])
@few(2)
def test_plain_forms(cpu, folder, drawn, packed):
    """The loops that AMX's micro-kernels, and what packs its results, take the place of: any processor runs them."""
    family, every = FAMILIES["tdpbusd-tile"], [*drawn, *packed]
    for case in packed:
        assert case.plan(family, case.numbers())[0].packs
    check(cpu, folder, every, [case.job(family, plain=True) for case in every])


@pytest.mark.parametrize(
    "family", parameters(["tdpbusd-tile", "vpdpbusd-512", "pmaddubsw-512", "pmaddwd-512"]), indirect=True
)
@given(st.lists(cases(whole_blocks(), byte_epilogues(), packed=True), min_size=4, max_size=8))
@few(2)
def test_packed_results(family, folder, drawn):
    """Blocks of 64 channels, which leave the registers as 64 bytes."""
    for case in drawn:
        assert case.plan(family, case.numbers())[0].packs
    _check(family, folder, drawn)


@pytest.mark.parametrize(
    "family, inputs, limit",
    [
        ("pmaddubsw", (0, 127), 63),
        ("pmaddubsw", (-63, 63), 63),
        ("pmaddubsw-512", (0, 127), 63),
        ("smlal", (0, 127), 63),
        ("smlal", (-127, 127), 127),
    ],
    indirect=["family"],
)
def test_one_link_more_would_overflow(family, folder, inputs, limit):
    """Activations and weights as above do reach what the chain of int16 additions can hold."""
    conv = Conv2D(1, 1, 5, 64, 16)
    case = Case(conv, Activations(*inputs, "int8", "high"), limit, "extreme", Epilogue("float32", -np.inf, np.inf))
    proven, offset = choose(family.features, inputs, limit)
    longer, _ = choose(family.features, inputs, limit // 2)
    assert longer.chain == 2 * proven.chain
    numbers = case.numbers()
    plan = DirectPlan(conv, longer, numbers.output, DirectTiling(1, 5))
    arguments = numbers.arguments(
        conv.out_shape,
        pack_weights(plan, numbers.weight),
        pack_channels(plan, folded_bias(numbers.weight, numbers.bias, inputs, offset)),
        pack_channels(plan, np.ones(conv.out_channels, "float32")),
    )
    (got,) = family.run(folder, [(direct_conv(plan, offset, "int8"), arguments)])
    assert (got != accumulators(conv, numbers.x, numbers.weight, numbers.bias)).all()


# Rows and pixels of activations, strides, what is read where it is, single runs and im2col.
ORDERED = [
    Conv2D(1, 5, 6, 64, 10, (3, 3), padding=(1, 1, 1, 1)),
    Conv2D(1, 6, 9, 192, 4, (1, 3), strides=(2, 2)),
    Conv2D(1, 6, 7, 96, 8, (3, 3), (2, 2), (1, 1, 1, 1), (2, 2)),
    Conv2D(2, 1, 6, 160, 12),
    Conv2D(1, 5, 5, 384, 8, strides=(2, 2)),
    Conv2D(2, 5, 7, 32, 5),
    Conv2D(1, 12, 13, 3, 9, (7, 7), (2, 2), (3, 3, 3, 3)),
]


@pytest.mark.parametrize("family", ["smlal-in-order"], indirect=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(ORDERED),
            st.integers(1, 63),
            st.sampled_from(["random", "extreme", "small"]),
            st.sampled_from(["random", "high"]),
            SEEDS,
        ),
        min_size=3,
        max_size=6,
    )
)
@example(
    [  # each length with two or three of the convolutions
        (conv, INT16_MAX // (127 * 2 * chain), "extreme", "high", 0)
        for at, conv in enumerate(ORDERED)
        for chain in range(1 + at % 3, 13, 3)
    ]
)
@few(2)
def test_ordered(family, folder, drawn):
    """Chains of every length, with weights as large as the int16 sums then allow."""
    cases, jobs = [], []
    for conv, limit, weights, inputs, seed in drawn:
        case = Case(
            conv, Activations(0, 127, "int8", inputs), limit, weights, Epilogue("float32", -np.inf, np.inf), seed=seed
        )
        numbers = case.numbers()
        for im2col in tilings.layouts(conv, named("smlal_parts_x1")):
            plan = DirectPlan(conv, named("smlal_parts_x1"), numbers.output, DirectTiling(4, 2, im2col=im2col))

            def runs(instruction, plan=plan, weight=numbers.weight):
                return weight_runs(replace(plan, instruction=instruction), weight)

            for instruction in ordered(plan.instruction, conv, runs, case.span, im2col):
                assert named(instruction.name) == instruction
                plan = replace(plan, instruction=instruction)
                arguments = numbers.arguments(
                    conv.out_shape,
                    pack_weights(plan, numbers.weight),
                    pack_channels(plan, folded_bias(numbers.weight, numbers.bias, case.span, 0)),
                    pack_channels(plan, numbers.multiplier),
                )
                cases.append((case, instruction.name))
                jobs.append((direct_conv(plan, 0, "int8"), arguments, numbers.expected.reshape(conv.out_shape)))
    check(family, folder, cases, jobs)


@given(convolutions(), SEEDS, SEEDS, st.none() | SEEDS, st.booleans(), st.booleans())
@few(6)
def test_float(cpu, folder, conv, seed, tiling, chunk, small_integers, residual):
    """A convolution in float32: close, and exact where all sums are small integers."""
    instruction = fma(cpu.bits // 32)
    found = list(tilings.direct_tilings(conv, instruction))
    plan = DirectPlan(conv, instruction, Output("float32", "float32" if residual else None), found[tiling % len(found)])
    _check_float(cpu, folder, _with_chunk(plan, chunk, cpu.machine), np.random.default_rng(seed), small_integers)


@pytest.mark.parametrize(
    ("conv", "chunk"),
    [
        (Conv2D(1, 65, 7, 5, 20, (3, 3), padding=(1, 1, 0, 1)), 8),
        (Conv2D(2, 79, 5, 18, 8, (3, 3), (2, 2), padding=(1, 1, 1, 1)), 5),
        (Conv2D(1, 40, 6, 2, 8, (2, 3), padding=(0, 2, 1, 0), dilation=(1, 2)), 5),
        (Conv2D(1, 1, 128, 17, 8, (1, 3), padding=(0, 2, 0, 2), dilation=(1, 2)), 4),
        (Conv2D(1, 32, 7, 4, 10, (1, 3), padding=(0, 1, 0, 1), groups=2), 4),
    ],
)
def test_float_copied_by_chunks(cpu, folder, conv, chunk):
    plan = DirectPlan(conv, fma(cpu.bits // 32), Output("float32"), DirectTiling(1, 4, chunk))
    assert plan.copies_by_chunk
    _check_float(cpu, folder, plan, np.random.default_rng(0), small_integers=True)


def test_threads_share_pixels_where_weights_are_few():
    """What a thread computes, it then mostly reads itself; so the pixels of a single row are copied, too."""
    family = FAMILIES["vpdpbusd-512"]
    machine, (instruction, _) = family.machine, choose(family.features, (0, 127), 64)

    def chunks(conv, machine=machine):
        plan = DirectPlan(conv, instruction, Output("uint8"), DirectTiling(2, 11))
        chosen = replace(plan, tiling=replace(plan.tiling, chunk=tilings.chunk_of(plan, machine)))
        return plan.places // chosen.tiling.chunk

    tokens = Conv2D(1, 1, 197, 192, 768)
    assert chunks(tokens) == 2  # of 18 tiles
    assert chunks(replace(tokens, width=220)) == 4
    assert chunks(replace(tokens, width=77, out_channels=96)) == 7  # which 2 threads share evenly with all blocks
    assert chunks(tokens, replace(machine, l3=0)) == 1  # cores share the second cache
    assert chunks(Conv2D(1, 1, 44, 960, 960)) == 1  # all weights would be read four times


@pytest.mark.parametrize("filters, fetched", [(64, False), (512, True)])
def test_weights_that_stay_in_the_first_cache_are_not_fetched(filters, fetched):
    family = FAMILIES["pmaddubsw"]
    instruction, _ = choose(family.features, (0, 127), 63)
    plan = DirectPlan(Conv2D(1, 1, 784, 64, filters), instruction, Output("uint8"), DirectTiling(4, 1))
    assert ("address_of(weights" in direct_conv(plan, 0, "uint8", 0).script()) == fetched


def test_large_float_activations_are_copied_by_chunks():
    machine, instruction = FAMILIES["pmaddubsw"].machine, fma(8)

    def copied(conv):
        plan = DirectPlan(conv, instruction, Output("float32"), DirectTiling(2, 5))
        return replace(plan, tiling=replace(plan.tiling, chunk=tilings.chunk_of(plan, machine))).copies_by_chunk

    assert copied(Conv2D(1, 240, 160, 16, 16, (3, 3), padding=(1, 1, 1, 1)))
    assert not copied(Conv2D(1, 24, 16, 16, 16, (3, 3), padding=(1, 1, 1, 1)))
    assert not copied(Conv2D(1, 240, 160, 16, 16))  # read where they are


def _check_float(cpu, folder, plan, rng, small_integers):
    def values(*shape):
        drawn = rng.integers(-3, 4, shape) if small_integers else rng.standard_normal(shape)
        return drawn.astype("float32")

    conv, residual = plan.conv, plan.output.residual
    x, w = values(conv.batch, conv.height, conv.width, conv.in_channels), values(*weight_shape(conv))
    bias = values(conv.out_channels)
    limits = np.array([-1, np.inf] if conv.groups == 1 else [-np.inf, 5], "float32")
    packed = [pack_weights(plan, w), pack_channels(plan, bias)]
    extra = [values(*conv.out_shape)] if residual else []
    (got,) = cpu.run(folder, [(direct_conv(plan, 0, "float32"), [x, *packed, limits, *extra])])
    total = ops.correlate(nchw(x), w, conv.strides, conv.padding, conv.dilation, conv.groups, "float64")
    total = (total.transpose(0, 2, 3, 1) + bias).reshape(conv.out_shape)
    expected = np.clip(total + extra[0] if residual else total, *limits)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0 if small_integers else 1e-5 * np.sqrt(w[0].size))


@given(convolutions())
@settings(max_examples=50)
def test_out_shapes(conv):
    """`nhwc_shape` is what the definition gives; `flattened` keeps the result's bytes."""
    x = np.zeros((conv.batch, conv.in_channels, conv.height, conv.width), "int8")
    acc = ops.conv2d_acc(
        x, np.zeros(weight_shape(conv), "int8"), None, conv.strides, conv.padding, conv.dilation, conv.groups
    )
    assert conv.nhwc_shape == acc.transpose(0, 2, 3, 1).shape
    assert np.prod(conv.out_shape) == np.prod(conv.nhwc_shape) == np.prod(conv.flattened().out_shape)
    assert conv.macs == acc.size * np.prod(weight_shape(conv)[1:])


def test_flattened_only_where_pixels_keep_apart():
    plain = Conv2D(2, 5, 7, 8, 16)
    assert plain.flattened() == Conv2D(1, 1, 70, 8, 16)
    for change in ({"kernel": (1, 3)}, {"strides": (1, 2)}, {"padding": (0, 0, 0, 1)}):
        conv = replace(plain, **change)
        assert conv.flattened() == conv


def _with_chunk(plan, chunk, machine):
    if chunk is None:
        chunk = tilings.chunk_of(plan, machine)
    else:
        divisors = [n for n in range(1, plan.places + 1) if plan.places % n == 0]
        chunk = divisors[chunk % len(divisors)]
    return replace(plan, tiling=replace(plan.tiling, chunk=chunk))


def _check(family, folder, drawn):
    check(family, folder, drawn, [case.job(family) for case in drawn])
