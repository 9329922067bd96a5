"""Quantized convolutions as kernels are tried on, with their integers and the expected result."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import integer_ops as ops
import numpy as np
from cases import INT7, PLAIN, Activations, Epilogue, extent, weights
from hypothesis import strategies as st

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import INT32_MAX, worst_accumulators
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.processor.rounding import proven


@dataclass(frozen=True)
class Layer:
    """A convolution, what it is applied to and how its result is stored.

    Parameters
    ----------
    weight_limit : int
        Greatest weight.
    values : str
        Of the weights: "random", "extreme" (all at the limit) or "small" (all but one near 0).
    unproven : bool
        The kernel has to count with accumulators beyond what is possible.
    large_bias : bool
        Biases for which the worst input just fits int32.
    """

    conv: Conv2D
    activations: Activations = INT7
    weight_limit: int = 63
    values: str = "random"
    epilogue: Epilogue = PLAIN
    unproven: bool = False
    large_bias: bool = False
    seed: int = 0

    @property
    def span(self) -> tuple[int, int]:
        return self.activations.low, self.activations.high

    def numbers(self, features: Collection[str] = ()) -> Numbers:
        """With what is proven of the result on a processor with these features."""
        rng, conv, (low, high) = np.random.default_rng(self.seed), self.conv, self.span
        x = self.activations.array(rng, (conv.batch, conv.height, conv.width, conv.in_channels))
        w = weights(rng, weight_shape(conv), self.weight_limit, self.values == "extreme", self.values == "small")
        bound = 20 * self.weight_limit * high
        bias = rng.integers(-bound, bound + 1, conv.out_channels)
        if self.large_bias:
            ends = [w.astype("int64") * end for end in (low, high)]
            least, greatest = np.minimum(*ends).sum((1, 2, 3)), np.maximum(*ends).sum((1, 2, 3))
            bias = np.where(bias < 0, -INT32_MAX - least, INT32_MAX - greatest)
        return self.with_numbers(x, w, bias.astype("int32"), features)

    def with_numbers(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray, features: Collection[str] = ()) -> Numbers:
        rng, acc = np.random.default_rng(self.seed), accumulators(self.conv, x, w, bias)
        m = self.epilogue.multipliers(rng, acc, (self.conv.out_channels,))
        raw = self.epilogue.residual and self.epilogue.residual.array(rng, acc.shape)
        multiplier = self.epilogue.stored_multipliers(m)
        output = self.epilogue.output
        if not self.unproven:
            output = proven(output, worst_accumulators(w, bias, self.span), multiplier, features)
        return Numbers(x, w, bias, multiplier, raw, self.epilogue.expected(acc, m, raw), output, self.epilogue.limits())


@dataclass(frozen=True)
class Numbers:
    """A layer's arrays: activations, residual and result NHWC, weights OIHW."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    residual: np.ndarray | None
    expected: np.ndarray
    output: Output
    limits: np.ndarray

    def arguments(self, shape, weight, bias, multiplier) -> list[np.ndarray]:
        """Of a kernel whose result has the `shape`, with its constants."""
        residual = [] if self.residual is None else [self.residual.reshape(shape)]
        return [self.x, weight, bias, multiplier, self.limits, *residual]


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


def check(family, folder, drawn, jobs):
    """Run `jobs`, (function, arguments, expected result), for the cases `drawn`."""
    results = family.run(folder, [(func, arguments) for func, arguments, _ in jobs])
    for case, (_, _, expected), got in zip(drawn, jobs, results, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True, err_msg=repr(case))


def accumulators(conv, x, w, bias) -> np.ndarray:
    """NHWC accumulators."""
    acc = ops.conv2d_acc(nchw(x), w, bias, conv.strides, conv.padding, conv.dilation, conv.groups)
    return acc.transpose(0, 2, 3, 1)


def weight_shape(conv) -> tuple[int, ...]:
    return (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel)


def nchw(x) -> np.ndarray:
    return x.transpose(0, 3, 1, 2)
