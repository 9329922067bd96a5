"""Kernels whose tensors are part of larger ones: they read and write the same, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from cases import SEEDS, Activations, activations, epilogues, few
from hypothesis import example, given
from hypothesis import strategies as st
from layers import Layer, convolutions

from eq_tvm.schedules.choice.candidate import Stored
from eq_tvm.schedules.choice.candidates import convolution_candidates
from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.placed import has_rows, placed
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.depthwise.depthwise import depthwise_conv
from eq_tvm.schedules.depthwise.depthwise_columns import depthwise_columns
from eq_tvm.schedules.depthwise.depthwise_columns_plan import Dot
from eq_tvm.schedules.depthwise.depthwise_columns_plan import pack_constants as column_constants
from eq_tvm.schedules.depthwise.depthwise_columns_plan import pack_weights as column_weights
from eq_tvm.schedules.operators.concat import concat
from eq_tvm.schedules.operators.pooling import Pool2D, avg_pool, max_pool
from eq_tvm.schedules.operators.resize import nearest

FILL = 0xA5  # of what is not written yet

LAYERS = st.builds(
    Layer, convolutions(), activations(), st.sampled_from([63, 127]), st.just("random"), epilogues(), seed=SEEDS
)
USUAL = [
    (Layer(Conv2D(1, 6, 6, 16, 64, (3, 3), padding=(1, 1, 1, 1))), 0),
    (Layer(Conv2D(1, 8, 8, 32, 64, (3, 3), padding=(1, 1, 1, 1))), 1),
    (Layer(Conv2D(1, 5, 5, 24, 33)), 2),
    (Layer(Conv2D(1, 5, 5, 64, 64), Activations(0, 255, "uint8"), 127), 3),
]


@given(st.lists(st.tuples(LAYERS, SEEDS), min_size=1, max_size=4))
@example(USUAL)
@few(4)
def test_convolutions(family, folder, drawn):
    """Any kernel for any convolution, with its residual."""
    jobs = []
    for layer, seed in drawn:
        numbers, conv = layer.numbers(), layer.conv
        found = convolution_candidates(
            conv,
            numbers.weight,
            numbers.bias,
            numbers.multiplier,
            Stored(layer.activations.dtype, *layer.span),
            numbers.output,
            family.machine,
        )
        chosen = found[seed % len(found)]
        func = chosen.make()
        shape = [int(extent) for extent in func.params[-1].shape]
        arguments = numbers.arguments(shape, *chosen.constants())
        widths = {0: conv.in_channels, len(arguments): conv.out_channels}
        if numbers.residual is not None:
            widths[len(arguments) - 1] = conv.out_channels
        jobs.append(_job(func, arguments, numbers.expected, widths, seed))
    _check(family, folder, drawn, jobs)


@pytest.mark.parametrize("channels", [5, 32, 100])
def test_other_kernels(cpu, folder, channels):
    rng, conv = (
        np.random.default_rng(channels),
        Conv2D(1, 9, 7, channels, channels, (3, 3), (1, 1), (1, 1, 1, 1), groups=channels),
    )
    pool = Pool2D(1, 9, 7, channels, (3, 3), (2, 2), (1, 1, 1, 1), 5, 4)
    x, lanes = rng.integers(0, 128, (1, 9, 7, channels)).astype("int8"), cpu.bits // 8
    limits, multiplier = np.array([0, 127, 0], "int32"), np.full(channels, 0.01, "float32")
    bias, rows = rng.integers(-999, 999, channels).astype("int32"), rng.integers(0, 9, 12).astype("int32")
    w = rng.integers(-60, 60, (9, channels)).astype("int16")
    kernels = [
        (depthwise_conv(conv, "int8", 1, lanes // 2, Output("int8")), [x, w, bias, multiplier, limits]),
        (max_pool(pool, "int8", lanes), [x]),
        (avg_pool(pool, "int8", lanes // 4, Output("int8")), [x, np.full((5, 4), 0.11, "float32"), limits]),
        (nearest(x.shape, (12, 3), "int8", lanes), [x, rows, rows[:3] % 7]),
        (concat(63, [channels, 3], "int8"), [x.reshape(63, -1), np.ones((63, 3), "int8")]),
    ]
    if cpu.bits > 128 and channels % 8 == 0:
        dot, oihw = Dot(lanes, 0 if cpu.bits == 512 else 1), w.astype("int8").T.reshape(channels, 1, 3, 3)
        kernels.append(
            (
                depthwise_columns(conv, "int8", dot, 0, 0, Output("uint8", bounded=True), False),
                [x, column_weights(conv, dot, oihw), column_constants(conv, dot, bias, multiplier, False), limits],
            )
        )
    expected = cpu.run(folder, kernels)
    jobs = [
        _job(func, arguments, result, {0: channels, len(arguments): result.shape[-1]}, channels + i)
        for i, ((func, arguments), result) in enumerate(zip(kernels, expected, strict=True))
    ]
    _check(cpu, folder, range(len(jobs)), jobs)


def test_has_rows():
    assert has_rows((2, 3, 4, 8), 8) and has_rows((1, 5, 2, 4), 8) and has_rows((8,), 8)
    assert not has_rows((2, 3, 4), 8) and not has_rows((64,), 8)


def _job(func, arguments, expected, widths, seed):
    """A kernel whose arguments with `widths` are parts, those arguments, and the whole of its result."""
    rng = np.random.default_rng(seed)
    *arguments, result = [*arguments, expected]
    for index, width in widths.items():
        array = result if index == len(arguments) else arguments[index]
        first, behind = rng.integers(0, 70, 2) if seed % 2 else 16 * rng.integers(0, 5, 2)
        whole, rows = first + width + behind, array.size // width
        func = placed(func, index, width, int(first), int(whole))
        larger = rng.integers(0, 255, (rows, whole * array.itemsize)).astype("uint8").view(array.dtype)
        if index == len(arguments):
            larger = np.full((rows, whole * array.itemsize), FILL, "uint8").view(array.dtype)
        larger[:, first : first + width] = array.reshape(rows, width)
        if index == len(arguments):
            result = larger
        else:
            arguments[index] = larger
    return func, arguments, result


def _check(family, folder, drawn, jobs):
    results = family.run(folder, [(func, arguments) for func, arguments, _ in jobs])
    for case, (_, _, expected), got in zip(drawn, jobs, results, strict=True):
        np.testing.assert_array_equal(got.view("uint8"), expected.view("uint8"), strict=True, err_msg=repr(case))
