"""Depthwise convolution of floats: close to its definition, and exact where all sums are small integers."""

import integer_ops as ops
import numpy as np
import pytest
from covering import covering

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.convolution.conv2d import Conv2D
from eq_tvm.schedules.depthwise.depthwise import pack_depthwise
from eq_tvm.schedules.islands.depthwise import WIDEST, choose_tile, depthwise
from eq_tvm.schedules.processor.instructions import fma


def _conv(batch, height, width, channels, kernel, **how):
    return Conv2D(batch, height, width, channels, channels, kernel, groups=channels, **how)


CASES = {
    "padded": _conv(1, 9, 29, 32, (3, 3), padding=(1, 1, 1, 1)),
    "unevenly": _conv(2, 7, 17, 12, (3, 5), strides=(2, 2), padding=(0, 2, 1, 1)),
    "not padded": _conv(1, 6, 33, 20, (3, 2)),
    "dilated": _conv(1, 11, 8, 8, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)),
    "small": _conv(1, 2, 2, 48, (5, 5), padding=(2, 2, 2, 2)),
    "row": _conv(1, 1, 40, 5, (1, 7), padding=(0, 3, 0, 3)),
}


@pytest.mark.parametrize("small_integers, residual", covering([True, False], [False, True]))
def test_float(cpu, folder, small_integers, residual):
    rng = np.random.default_rng(0)

    def values(*shape):
        drawn = rng.integers(-3, 4, shape) if small_integers else rng.standard_normal(shape)
        return drawn.astype("float32")

    jobs, expected = [], []
    for conv in CASES.values():
        x, w = values(conv.batch, conv.height, conv.width, conv.in_channels), values(conv.out_channels, 1, *conv.kernel)
        bias, limits = values(conv.out_channels), np.array([-2, 6], "float32")
        output, lanes = Output("float32", "float32" if residual else None), cpu.bits // 32
        func = depthwise(conv, lanes, fma(lanes, cpu.features).registers, output)
        extra = [values(*conv.nhwc_shape)] if residual else []
        jobs.append((func, [x, pack_depthwise(w), bias, limits, *extra]))
        nchw = x.transpose(0, 3, 1, 2)
        total = ops.correlate(nchw, w, conv.strides, conv.padding, conv.dilation, conv.groups, "float64")
        total = total.transpose(0, 2, 3, 1) + bias
        expected.append(np.clip(total + extra[0] if residual else total, *limits))
    for name, got, want in zip(CASES, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=0 if small_integers else 1e-5, err_msg=name)


@pytest.mark.parametrize(("columns", "registers", "tile"), [(7, 32, 7), (112, 32, WIDEST), (53, 32, 14), (112, 16, 8)])
def test_tiles(columns, registers, tile):
    """Few, and with little beyond the last column."""
    assert choose_tile(columns, registers) == tile
