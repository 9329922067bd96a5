"""Depthwise convolution on bytes: equal to the integer program, wherever it can be used."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from cases import INT7, SEEDS, WEIGHT_LIMITS, Activations, Epilogue, activations, few, integer_outputs, weights
from families import parameters
from hypothesis import example, given
from hypothesis import strategies as st
from layers import accumulators, check

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import folded_bias, worst_accumulators
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.depthwise.depthwise_columns import depthwise_columns
from eq_tvm.schedules.depthwise.depthwise_columns_plan import (
    ColumnsPlan,
    Dot,
    added,
    choose,
    fits,
    is_small,
    pack_constants,
    pack_weights,
)
from eq_tvm.schedules.processor.rounding import proven

UNSIGNED = Epilogue("uint8", 0, 127)
BYTES = pytest.mark.parametrize(
    "family", parameters(["pmaddubsw", "vpdpbusd-256", "vpdpbusd-512", "sdot"]), indirect=True
)


@dataclass(frozen=True)
class Case:
    conv: Conv2D
    activations: Activations = INT7
    weight_limit: int = 63
    epilogue: Epilogue = UNSIGNED
    seed: int = 0

    def job(self, family):
        """The kernel for a family, its arguments, and the expected result; None where it can't be used."""
        rng, conv, (low, high) = (
            np.random.default_rng(self.seed),
            self.conv,
            (self.activations.low, self.activations.high),
        )
        x = self.activations.array(rng, (conv.batch, conv.height, conv.width, conv.in_channels))
        w = weights(rng, (conv.out_channels, 1, *conv.kernel), self.weight_limit, False)
        bias = rng.integers(-9_000, 9_000, conv.out_channels, dtype="int32")
        acc = accumulators(conv, x, w, bias)
        multiplier = self.epilogue.stored_multipliers(self.epilogue.multipliers(rng, acc, (conv.out_channels,)))
        worst, offset = worst_accumulators(w, bias, (low, high)), added(family.features, self.activations.dtype, low)
        output = proven(self.epilogue.output, worst, multiplier, family.features)
        dot = choose(family.features, (low + offset, high + offset), self.weight_limit)
        if dot is None or not fits(conv, output):
            return None
        small = output.dtype == "uint8" and not dot.signed and is_small(worst)
        arguments = [
            x,
            pack_weights(conv, dot, w),
            pack_constants(conv, dot, folded_bias(w, bias, (low, high), offset), multiplier, small),
            self.epilogue.limits(),
        ]
        function = depthwise_columns(conv, self.activations.dtype, dot, 0, offset, output, small)
        return function, arguments, self.epilogue.expected(acc, multiplier, None)


@st.composite
def convolutions(draw) -> Conv2D:
    """Rows and pixels that fill no task or stretch, and channels that fill no vector."""
    kernel = draw(st.tuples(st.integers(2, 8), st.integers(1, 8)))
    strides = tuple(draw(st.integers(1, min(size, 3))) for size in kernel)
    padding = draw(st.one_of(st.just((0, 0, 0, 0)), st.tuples(*[st.integers(0, 3)] * 4)))
    top, left, bottom, right = padding
    height = draw(st.integers(max(1, kernel[0] - top - bottom), 14))
    width = draw(st.integers(max(1, kernel[1] - left - right), 40))
    channels = 8 * draw(st.integers(1, 20))
    return Conv2D(1, height, width, channels, channels, kernel, strides, padding, groups=channels)


CASES = st.builds(
    Case,
    convolutions(),
    activations(wide=False),
    st.sampled_from(WEIGHT_LIMITS),
    integer_outputs(wide=False).map(lambda output: Epilogue(*output)),
    SEEDS,
)
USUAL = [
    Case(Conv2D(2, 14, 14, 96, 96, (3, 3), (1, 1), (1, 1, 1, 1), groups=96)),
    Case(Conv2D(1, 15, 35, 40, 40, (5, 5), (2, 2), (1, 1, 2, 2), groups=40), Activations(0, 255, "uint8"), 127),
    Case(Conv2D(1, 9, 9, 64, 64, (3, 3), (2, 2), (0, 0, 1, 1), groups=64), Activations(-127, 127, "int8"), 127),
]


@BYTES
@given(st.lists(CASES, min_size=1, max_size=4))
@example(USUAL)
@few(4)
def test_equals_the_integer_program(family, folder, drawn):
    jobs = {case: job for case in drawn if (job := case.job(family)) is not None}
    assert drawn is not USUAL or jobs
    if jobs:
        check(family, folder, list(jobs), list(jobs.values()))


@given(convolutions(), st.sampled_from([Dot(16), Dot(32), Dot(64)]))
def test_every_channel_has_a_place(conv, dot):
    """And a task's rows reach into no more groups of input rows than one does."""
    plan = ColumnsPlan(conv, dot)
    assert plan.slots().shape == (plan.blocks, 4, dot.width // 4)
    assert set(plan.slots().flat) == set(range(conv.out_channels))
    assert {group for r in range(plan.rows) for group in plan.groups_of(r)} == set(range(plan.groups))
    assert plan.groups == -(-conv.kernel[0] // 4)


def test_layers_that_fit():
    conv, output = Conv2D(1, 9, 9, 16, 16, (3, 3), groups=16), Output("uint8", bounded=True)
    assert fits(conv, output) and fits(replace(conv, strides=(2, 3)), output)
    for change in ({"kernel": (1, 3)}, {"kernel": (3, 9)}, {"strides": (4, 1)}, {"dilation": (2, 2)}):
        assert not fits(replace(conv, **change), output)
    assert not fits(replace(conv, in_channels=12, out_channels=12, groups=12), output)
    for change in ({"dtype": "float32"}, {"residual": "int8"}, {"bounded": False}):
        assert not fits(conv, replace(output, **change))
