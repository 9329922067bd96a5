"""Direct convolution and dense layers: equal to the integer program on every multiply instruction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import integer_ops as ops
import numpy as np
import pytest
from cases import (
    ACTIVATION_RANGES,
    INT7,
    PLAIN,
    SEEDS,
    WEIGHT_LIMITS,
    Activations,
    Epilogue,
    activations,
    epilogues,
    extent,
    few,
    weights,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eq_tvm.schedules.conv2d import Conv2D, direct_conv, pack_channels, pack_weights
from eq_tvm.schedules.epilogue import Output
from eq_tvm.schedules.instructions import INT32_MAX, choose, fma, folded_bias


@dataclass(frozen=True)
class Case:
    conv: Conv2D
    activations: Activations = INT7
    weight_limit: int = 63
    extreme: bool = False
    epilogue: Epilogue = PLAIN
    large_bias: bool = False
    seed: int = 0

    def arrays(self):
        """Activations NHWC, weights OIHW and bias."""
        rng, conv = np.random.default_rng(self.seed), self.conv
        x = self.activations.array(rng, (conv.batch, conv.height, conv.width, conv.in_channels))
        w = weights(rng, _weight_shape(conv), self.weight_limit, self.extreme)
        bound = 20 * self.weight_limit * self.activations.high
        bias = rng.integers(-bound, bound + 1, conv.out_channels)
        if self.large_bias:  # the largest there may be: the worst input just fits int32
            ends = [w.astype("int64") * end for end in (self.activations.low, self.activations.high)]
            least, greatest = np.minimum(*ends).sum((1, 2, 3)), np.maximum(*ends).sum((1, 2, 3))
            bias = np.where(bias < 0, -INT32_MAX - least, INT32_MAX - greatest)
        return x, w, bias.astype("int32")

    def job(self, features):
        """The kernel for a processor with `features`, its arguments, and the expected result."""
        conv, span = self.conv, (self.activations.low, self.activations.high)
        x, w, bias = self.arrays()
        rng = np.random.default_rng(self.seed)
        instruction, offset = choose(features, span, int(np.abs(w.astype("int32")).max()))
        acc = _accumulators(conv, x, w, bias)
        m = self.epilogue.multipliers(rng, acc, (conv.out_channels,))
        raw = self.epilogue.residual and self.epilogue.residual.array(rng, acc.shape)
        func = direct_conv(conv, instruction, offset, self.activations.dtype, self.epilogue.output)
        arguments = [
            x,
            pack_weights(conv, instruction, w),
            pack_channels(conv, instruction, folded_bias(w, bias, span, offset)),
            pack_channels(conv, instruction, self.epilogue.stored_multipliers(m)),
            self.epilogue.limits(),
            *([] if raw is None else [raw.reshape(conv.out_shape)]),
        ]
        return func, arguments, self.epilogue.expected(acc, m, raw).reshape(conv.out_shape)


@st.composite
def convolutions(draw) -> Conv2D:
    """Shapes of few channels and pixels, but of every kind."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels = st.one_of(st.integers(1, 12), st.sampled_from([16, 20, 32, 33, 48, 64]))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (3, 2), (5, 5), (2, 7)]))
    strides = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 1), (1, 2)]))
    padding = draw(st.one_of(st.just((0, 0, 0, 0)), st.tuples(*[st.integers(0, 3)] * 4)))
    top, left, bottom, right = padding
    return Conv2D(
        draw(st.integers(1, 2)),
        extent(draw, kernel[0], strides[0], top, bottom, dilation[0], longest=5),
        extent(draw, kernel[1], strides[1], left, right, dilation[1], longest=30),
        groups * draw(channels),
        groups * draw(channels),
        kernel,
        strides,
        padding,
        dilation,
        groups,
    )


def cases(shapes=convolutions()):  # noqa: B008
    return st.builds(
        Case, shapes, activations(), st.sampled_from(WEIGHT_LIMITS), st.booleans(), epilogues(), st.booleans(), SEEDS
    )


# Layers as networks have them: stems, the body, projections, a grouped one, heads.
USUAL = [
    Case(Conv2D(1, 20, 21, 3, 24, (3, 3), (2, 2), (1, 1, 1, 1)), Activations(-63, 63, "int8")),
    Case(Conv2D(1, 30, 32, 3, 64, (7, 7), (2, 2), (3, 3, 3, 3)), Activations(-127, 127, "int8"), 127),
    Case(Conv2D(1, 14, 14, 64, 64, (3, 3), (1, 1), (1, 1, 1, 1)), epilogue=Epilogue("int8", 0, 127)),
    Case(Conv2D(1, 14, 14, 32, 128, strides=(2, 2)), Activations(0, 255, "uint8"), 127),
    Case(Conv2D(2, 7, 7, 96, 40).flattened(), epilogue=Epilogue("uint8", 0, 255, Activations(-63, 63, "int8"), 0.7)),
    Case(Conv2D(1, 7, 9, 64, 96, (3, 3), (1, 1), (0, 0, 1, 1), groups=4)),
    Case(Conv2D(1, 3, 4, 24, 16), Activations(-127, 127, "int8", "low"), 127, True, large_bias=True),
    Case(Conv2D(1, 3, 4, 24, 16), Activations(0, 255, "uint8", "high"), 127, True, large_bias=True),
    Case(Conv2D(1, 1, 1, 515, 101), epilogue=Epilogue("float32", -np.inf, np.inf)),
]


@given(st.lists(cases(), min_size=1, max_size=8))
@example(USUAL)
@few(4)
def test_equals_the_integer_program(family, folder, drawn):
    _check(family, folder, drawn)


@given(st.data())
@few(2)
def test_dense(family, folder, data):
    """A dense layer is a convolution of one row: `flattened` makes it of the images of a batch."""
    size = st.integers(1, 300)
    shapes = st.builds(lambda rows, k, n: Conv2D(rows, 1, 1, k, n).flattened(), st.integers(1, 3), size, size)
    _check(family, folder, data.draw(st.lists(cases(shapes), min_size=3, max_size=6)))


@pytest.mark.parametrize("limit", WEIGHT_LIMITS)
def test_worst_cases_do_not_overflow(family, folder, limit):
    """All activations at one extreme and all weights at the limit: the largest sums there can be."""
    layers = [Conv2D(1, 1, 5, 64, 16), Conv2D(1, 3, 6, 9, 8, (3, 3), (1, 1), (0, 1, 0, 1))]
    inputs = [
        Activations(low, high, "uint8" if high > 127 else "int8", values)
        for low, high in ACTIVATION_RANGES for values in ("low", "high")
    ]
    _check(family, folder, [
        Case(layers[i % 2], x, limit, extreme=True, epilogue=Epilogue("float32", -np.inf, np.inf))
        for i, x in enumerate(inputs)
    ])


@pytest.mark.parametrize(
    "family, inputs, limit",
    [("pmaddubsw", (0, 127), 63), ("pmaddubsw", (-63, 63), 63), ("smlal", (0, 127), 63), ("smlal", (-127, 127), 127)],
    indirect=["family"],
)
def test_one_link_more_would_overflow(family, folder, inputs, limit):
    """Activations and weights as above do reach what the chain of int16 additions can hold."""
    conv = Conv2D(1, 1, 5, 64, 16)
    case = Case(conv, Activations(*inputs, "int8", "high"), limit, True, Epilogue("float32", -np.inf, np.inf))
    proven, offset = choose(family.features, inputs, limit)
    longer, _ = choose(family.features, inputs, limit // 2)
    assert longer.chain == 2 * proven.chain
    x, w, bias = case.arrays()
    arguments = [
        x,
        pack_weights(conv, longer, w),
        pack_channels(conv, longer, folded_bias(w, bias, inputs, offset)),
        pack_channels(conv, longer, np.ones(conv.out_channels, "float32")),
        case.epilogue.limits(),
    ]
    (got,) = family.run(folder, [(direct_conv(conv, longer, offset, "int8", case.epilogue.output), arguments)])
    assert (got != _accumulators(conv, x, w, bias)).all()


@given(convolutions(), SEEDS, st.booleans(), st.booleans())
@few(6)
def test_float(cpu, folder, conv, seed, small_integers, residual):
    """A convolution in float32: close, and exact where all sums are small integers."""
    rng = np.random.default_rng(seed)

    def values(*shape):
        drawn = rng.integers(-3, 4, shape) if small_integers else rng.standard_normal(shape)
        return drawn.astype("float32")

    x, w = values(conv.batch, conv.height, conv.width, conv.in_channels), values(*_weight_shape(conv))
    bias, instruction = values(conv.out_channels), fma(cpu.bits // 32)
    func = direct_conv(conv, instruction, 0, "float32", Output("float32", "float32" if residual else None))
    limits = np.array([-1, np.inf] if conv.groups == 1 else [-np.inf, 5], "float32")
    packed = [pack_weights(conv, instruction, w), pack_channels(conv, instruction, bias)]
    extra = [values(*conv.out_shape)] if residual else []
    (got,) = cpu.run(folder, [(func, [x, *packed, limits, *extra])])
    total = ops.correlate(_nchw(x), w, conv.strides, conv.padding, conv.dilation, conv.groups, "float64")
    total = (total.transpose(0, 2, 3, 1) + bias).reshape(conv.out_shape)
    expected = np.clip(total + extra[0] if residual else total, *limits)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0 if small_integers else 1e-5 * np.sqrt(w[0].size))


@given(convolutions())
@settings(max_examples=50)
def test_out_shapes(conv):
    """`nhwc_shape` is what the definition gives; `flattened` keeps the result's bytes."""
    x = np.zeros((conv.batch, conv.in_channels, conv.height, conv.width), "int8")
    acc = ops.conv2d_acc(x, np.zeros(_weight_shape(conv), "int8"), None, conv.strides, conv.padding, conv.dilation,
                         conv.groups)
    assert conv.nhwc_shape == acc.transpose(0, 2, 3, 1).shape
    assert np.prod(conv.out_shape) == np.prod(conv.nhwc_shape) == np.prod(conv.flattened().out_shape)
    assert conv.macs == acc.size * np.prod(_weight_shape(conv)[1:])


def test_flattened_only_where_pixels_keep_apart():
    plain = Conv2D(2, 5, 7, 8, 16)
    assert plain.flattened() == Conv2D(1, 1, 70, 8, 16)
    for change in ({"kernel": (1, 3)}, {"strides": (1, 2)}, {"padding": (0, 0, 0, 1)}):
        conv = replace(plain, **change)
        assert conv.flattened() == conv


def _check(family, folder, drawn):
    jobs = [case.job(family.features) for case in drawn]
    results = family.run(folder, [(func, arguments) for func, arguments, _ in jobs])
    for case, (_, _, expected), got in zip(drawn, jobs, results, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True, err_msg=repr(case))


def _accumulators(conv, x, w, bias):
    """NHWC accumulators."""
    acc = ops.conv2d_acc(_nchw(x), w, bias, conv.strides, conv.padding, conv.dilation, conv.groups)
    return acc.transpose(0, 2, 3, 1)


def _weight_shape(conv):
    return (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel)


def _nchw(x):
    return x.transpose(0, 3, 1, 2)
