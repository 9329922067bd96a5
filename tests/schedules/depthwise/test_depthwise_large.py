"""Depthwise convolution by large kernels: equal to the integer program, and close to the float one."""

import integer_ops as ops
import numpy as np
import pytest
from cases import INT7, Activations, Epilogue, weights

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.common.overflow import folded_bias
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.depthwise.depthwise import pack_depthwise
from eq_tvm.schedules.depthwise.depthwise_large import depthwise_large

CONVOLUTIONS = [
    Conv2D(1, 14, 14, 32, 32, (15, 15), padding=(7, 7, 7, 7), groups=32),
    Conv2D(2, 12, 10, 24, 24, (9, 11), (2, 1), (3, 6, 8, 5), groups=24),
    Conv2D(1, 9, 13, 7, 7, (9, 8), (1, 2), (8, 0, 7, 3), (2, 1), groups=7),
    Conv2D(1, 1, 70, 16, 16, (1, 66), groups=16),
]
WIDE = Activations(-127, 127, "int8")


@pytest.mark.parametrize(
    "stored, epilogue",
    [
        (Activations(0, 255, "uint8"), Epilogue("uint8", 0, 255)),
        (WIDE, Epilogue("int8", -63, 63, INT7, 0.7)),
    ],
)
def test_equals_the_integer_program(cpu, folder, stored, epilogue):
    jobs, expected = [], []
    for seed, conv in enumerate(CONVOLUTIONS):
        rng = np.random.default_rng(seed)
        x = stored.array(rng, (conv.batch, conv.height, conv.width, conv.in_channels))
        w = weights(rng, (conv.out_channels, 1, *conv.kernel), 127, False)
        bias = rng.integers(-20_000, 20_000, conv.out_channels, dtype="int32")
        acc = _correlate(conv, x, w).astype("int32") + bias
        m = epilogue.multipliers(rng, acc, (conv.out_channels,))
        raw = epilogue.residual and epilogue.residual.array(rng, acc.shape)
        folded = folded_bias(w, bias, (stored.low, stored.high), 0)
        arguments = [x, pack_depthwise(w), folded, epilogue.stored_multipliers(m), epilogue.limits()]
        func = depthwise_large(conv, stored.dtype, cpu.bits // 32, epilogue.output)
        jobs.append((func, arguments + ([] if raw is None else [raw])))
        expected.append(epilogue.expected(acc, m, raw))
    for got, reference in zip(cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, reference, strict=True)


def test_float(cpu, folder):
    conv, rng, limits = CONVOLUTIONS[1], np.random.default_rng(0), np.array([-2, 6], "float32")
    x = rng.standard_normal((conv.batch, conv.height, conv.width, conv.in_channels), "float32")
    w = rng.standard_normal((conv.out_channels, 1, *conv.kernel), "float32")
    bias = rng.standard_normal(conv.out_channels, "float32")
    func = depthwise_large(conv, "float32", cpu.bits // 32, Output("float32"))
    (got,) = cpu.run(folder, [(func, [x, pack_depthwise(w), bias, limits])])
    np.testing.assert_allclose(got, np.clip(_correlate(conv, x, w) + bias, *limits), rtol=0, atol=1e-4)


def _correlate(conv, x, w):
    """The exact sums, NHWC, float64."""
    acc = ops.correlate(x.transpose(0, 3, 1, 2), w, conv.strides, conv.padding, conv.dilation, conv.groups, "float64")
    return acc.transpose(0, 2, 3, 1)
