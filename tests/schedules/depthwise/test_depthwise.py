"""Depthwise convolution: equal to the integer program, with sums in int16 that provably fit."""

from __future__ import annotations

from dataclasses import dataclass

import integer_ops as ops
import numpy as np
import pytest
import tvm
from cases import (
    INT7,
    PLAIN,
    SEEDS,
    WEIGHT_LIMITS,
    WORST_CASES,
    Activations,
    Epilogue,
    activations,
    epilogues,
    extent,
    few,
    stored_dtypes,
    weights,
)
from hypothesis import example, given
from hypothesis import strategies as st
from tvm import te

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import folded_bias, worst_accumulators
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.depthwise.depthwise import (
    byte_multiply,
    depthwise_conv,
    int16_chain,
    pack_depthwise,
    textbook,
)
from eq_tvm.schedules.processor.rounding import proven


@dataclass(frozen=True)
class Case:
    conv: Conv2D
    activations: Activations = INT7
    weight_limit: int = 63
    extreme: bool = False
    epilogue: Epilogue = PLAIN
    seed: int = 0
    unproven: bool = False

    def job(self, family, more=0):
        """The kernel for a family, its arguments, and the expected result; `more` products in a chain than fit."""
        rng, conv = np.random.default_rng(self.seed), self.conv
        span = self.activations.low, self.activations.high
        x = self.activations.array(rng, (conv.batch, conv.height, conv.width, conv.in_channels))
        w = weights(rng, (conv.out_channels, 1, *conv.kernel), self.weight_limit, self.extreme)
        bias = rng.integers(-20_000, 20_000, conv.out_channels, dtype="int32")
        chain = int16_chain(w, span) + more
        acc = _correlate(conv, x, w).astype("int32") + bias
        m = self.epilogue.multipliers(rng, acc, (conv.out_channels,))
        raw = self.epilogue.residual and self.epilogue.residual.array(rng, acc.shape)
        multiply = byte_multiply(family.features) if self.activations.dtype != "int16" else None
        multiplier = self.epilogue.stored_multipliers(m)
        output = self.epilogue.output
        if not self.unproven:
            output = proven(output, worst_accumulators(w, bias, span), multiplier, family.features)
        func = depthwise_conv(conv, self.activations.dtype, chain, family.bits // 16, output, multiply=multiply)
        arguments = [
            x,
            pack_depthwise(w, "int8" if multiply else "int16"),
            folded_bias(w, bias, span, 0),
            multiplier,
            self.epilogue.limits(),
            *([] if raw is None else [raw]),
        ]
        return func, arguments, self.epilogue.expected(acc, m, raw)


CHANNELS = st.one_of(st.integers(2, 20), st.sampled_from([24, 32, 48, 58, 64, 129, 144]))


@st.composite
def convolutions(draw, channels=CHANNELS) -> Conv2D:
    channels = draw(channels)
    kernel = draw(st.sampled_from([(3, 3), (3, 3), (5, 5), (1, 1), (2, 3), (7, 1)]))
    strides = draw(st.sampled_from([(1, 1), (2, 2), (1, 3)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]))
    padding = draw(st.one_of(st.just((0, 0, 0, 0)), st.just((1, 1, 1, 1)), st.tuples(*[st.integers(0, 3)] * 4)))
    top, left, bottom, right = padding
    return Conv2D(
        draw(st.integers(1, 2)),
        extent(draw, kernel[0], strides[0], top, bottom, dilation[0], longest=6),
        extent(draw, kernel[1], strides[1], left, right, dilation[1], longest=13),
        channels,
        channels,
        kernel,
        strides,
        padding,
        dilation,
        channels,
    )


CASES = st.builds(
    Case,
    convolutions(),
    activations(),
    st.sampled_from(WEIGHT_LIMITS),
    st.booleans(),
    epilogues(),
    SEEDS,
    st.booleans(),
)
USUAL = [
    Case(Conv2D(1, 14, 14, 96, 96, (3, 3), (1, 1), (1, 1, 1, 1), groups=96), epilogue=Epilogue("int8", 0, 127)),
    Case(Conv2D(1, 15, 15, 40, 40, (5, 5), (2, 2), (1, 1, 2, 2), groups=40), Activations(0, 255, "uint8"), 127),
    Case(Conv2D(1, 3, 4, 9, 9, (3, 3), groups=9)),  # LLVM 22 got it wrong as a scalar loop
    Case(Conv2D(1, 5, 6, 58, 58, (3, 3), (1, 1), (1, 1, 1, 1), groups=58), epilogue=Epilogue("int8", 0, 127)),
    Case(Conv2D(1, 3, 4, 129, 129, (3, 3), groups=129), Activations(0, 255, "uint8"), 127),
]


@given(st.lists(CASES, min_size=1, max_size=8))
@example(USUAL)
@few(6)
def test_equals_the_integer_program(cpu, folder, drawn):
    _check(cpu, folder, drawn)


@given(convolutions(), SEEDS)
@few(6)
def test_textbook(conv, seed):
    """The algorithm that the kernel is a form of."""
    rng, (top, left, bottom, right) = np.random.default_rng(seed), conv.padding
    x = rng.integers(-127, 128, (conv.batch, conv.height, conv.width, conv.in_channels)).astype("int32")
    w = rng.integers(-127, 128, (*conv.kernel, conv.out_channels)).astype("int32")
    arguments = [np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))), w]
    tensors = [te.placeholder(array.shape, "int32") for array in arguments]
    built = tvm.tirx.build(te.create_prim_func([*tensors, textbook(*tensors, conv)]), target="llvm")
    got = tvm.runtime.empty(conv.nhwc_shape, "int32")
    built(*map(tvm.runtime.tensor, arguments), got)
    np.testing.assert_array_equal(got.numpy(), _correlate(conv, x, w.transpose(2, 0, 1)[:, None]))


def test_the_input_is_not_copied():
    """No buffer besides the arguments, whatever the padding."""
    conv = Conv2D(1, 14, 14, 32, 32, (3, 3), (2, 2), (1, 1, 1, 1), groups=32)
    assert "alloc" not in depthwise_conv(conv, "int8", 4, 8, Output("int8")).script()


@pytest.mark.parametrize("limit", WORST_CASES)
def test_worst_cases_do_not_overflow(cpu, folder, limit):
    """All activations at one extreme and all weights at the limit: the largest sums there can be."""
    conv = Conv2D(1, 4, 5, 32, 32, (3, 3), groups=32)
    exact = Epilogue("float32", -np.inf, np.inf)
    _check(
        cpu,
        folder,
        [
            Case(conv, Activations(low, high, stored_dtypes(low, high)[-1], values), limit, True, exact)
            for low, high in WORST_CASES[limit]
            for values in ("low", "high")
        ],
    )


@pytest.mark.parametrize("inputs, limit", [((0, 127), 63), ((-127, 127), 127), ((0, 255), 127)])
def test_one_product_more_would_overflow(cpu, folder, inputs, limit):
    """The inputs above do reach what an int16 holds."""
    dtype = "uint8" if inputs[1] > 127 else "int8"
    case = Case(
        Conv2D(1, 3, 4, 16, 16, (3, 3), groups=16),
        Activations(*inputs, dtype, "high"),
        limit,
        True,
        Epilogue("float32", -np.inf, np.inf),
    )
    func, arguments, expected = case.job(cpu, more=1)
    (got,) = cpu.run(folder, [(func, arguments)])
    assert (got != expected).all()


@pytest.mark.parametrize("unproven", [False, True])
def test_products_are_rounded_to_float32_first(cpu, folder, unproven):
    """A fused multiplication and addition would round once, and find no tie where the product is rounded to one."""
    rng, conv = np.random.default_rng(0), Conv2D(1, 1, 1, 64, 64, (1, 1), groups=64)
    acc = rng.integers(8_000, 12_000, 16_000_000, dtype="int32")
    multiplier = rng.uniform(0.008, 0.01, len(acc)).astype("float32")
    product = acc.astype("float32") * multiplier
    ties = np.flatnonzero((product % 1 == 0.5) & (acc * multiplier.astype("float64") % 1 != 0.5))[:64]
    acc, multiplier, weight = acc[ties], multiplier[ties], np.ones((64, 1, 1, 1), "int8")
    output = Output("int8") if unproven else proven(Output("int8"), acc, multiplier, cpu.features)
    func = depthwise_conv(conv, "int8", 4, cpu.bits // 16, output)
    arguments = [pack_depthwise(weight), acc, multiplier, np.array([-127, 127, 0], "int32")]
    (got,) = cpu.run(folder, [(func, [np.zeros((1, 1, 1, 64), "int8"), *arguments])])
    np.testing.assert_array_equal(got.ravel(), np.rint(product[ties]))


def _check(cpu, folder, drawn):
    jobs = [case.job(cpu) for case in drawn]
    results = cpu.run(folder, [(func, arguments) for func, arguments, _ in jobs])
    for case, (_, _, expected), got in zip(drawn, jobs, results, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True, err_msg=repr(case))


def _correlate(conv, x, w):
    """The exact sums, NHWC, float64."""
    nchw = x.transpose(0, 3, 1, 2)
    acc = ops.correlate(nchw, w, conv.strides, conv.padding, conv.dilation, conv.groups, "float64")
    return acc.transpose(0, 2, 3, 1)
