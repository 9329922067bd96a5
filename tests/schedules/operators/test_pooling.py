"""Max and average pooling: equal to the integer program."""

from __future__ import annotations

from dataclasses import dataclass

import integer_ops as ops
import numpy as np
from cases import PLAIN, SEEDS, Activations, Epilogue, activations, epilogues, extent, few
from hypothesis import assume, example, given
from hypothesis import strategies as st

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.operators.pooling import Pool2D, avg_pool, max_pool


@dataclass(frozen=True)
class Window:
    """A pooling as ONNX describes it."""

    batch: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil_mode: bool = False
    dilation: tuple[int, int] = (1, 1)

    @property
    def geometry(self):
        return self.kernel, self.strides, self.padding, self.dilation, self.ceil_mode

    def pool(self) -> Pool2D:
        sizes = [
            (length + before + after - dilation * (kernel - 1) - 1 + (stride - 1) * self.ceil_mode) // stride + 1
            for length, before, after, kernel, stride, dilation in zip(
                (self.height, self.width),
                self.padding[:2],
                self.padding[2:],
                self.kernel,
                self.strides,
                self.dilation,
                strict=True,
            )
        ]
        return Pool2D(
            self.batch,
            self.height,
            self.width,
            self.channels,
            self.kernel,
            self.strides,
            self.padding,
            *sizes,
            self.dilation,
        )

    @property
    def shape(self):
        return self.batch, self.height, self.width, self.channels


@st.composite
def windows(draw) -> Window:
    """Poolings in which every window has an element of the tensor."""
    kernel = draw(st.sampled_from([(2, 2), (3, 3), (3, 2), (1, 5), (7, 7)]))
    strides = draw(st.sampled_from([(1, 1), (2, 2), (2, 3)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]))
    top, bottom = (draw(st.integers(0, kernel[0] - 1)) for _ in range(2))
    left, right = (draw(st.integers(0, kernel[1] - 1)) for _ in range(2))
    window = Window(
        draw(st.integers(1, 2)),
        extent(draw, kernel[0], strides[0], top, bottom, dilation[0], longest=5),
        extent(draw, kernel[1], strides[1], left, right, dilation[1], longest=9),
        draw(st.one_of(st.integers(1, 20), st.sampled_from([32, 48, 64, 128]))),
        kernel,
        strides,
        (top, left, bottom, right),
        draw(st.booleans()),
        dilation,
    )
    try:
        ops.max_pool(np.zeros((1, 1, window.height, window.width), "int8"), *window.geometry)
    except ValueError:
        assume(False)
    return window


@dataclass(frozen=True)
class Average:
    window: Window
    activations: Activations
    epilogue: Epilogue = PLAIN
    count_include_pad: bool = False
    seed: int = 0

    def job(self, lanes):
        rng, pool = np.random.default_rng(self.seed), self.window.pool()
        x = self.activations.array(rng, self.window.shape)
        acc, count = ops.avg_pool_acc(_nchw(x), *self.window.geometry, self.count_include_pad)
        acc = acc.transpose(0, 2, 3, 1)
        m = self.epilogue.multipliers(rng, acc, ()) / count[0, 0]
        raw = self.epilogue.residual and self.epilogue.residual.array(rng, acc.shape)
        func = avg_pool(pool, self.activations.dtype, lanes, self.epilogue.output)
        arguments = [x, self.epilogue.stored_multipliers(m), self.epilogue.limits(), *([] if raw is None else [raw])]
        return func, arguments, self.epilogue.expected(acc, m[..., None], raw)


GLOBAL = [
    Average(Window(1, 7, 7, 130, (7, 7)), Activations(0, 127, "uint8"), Epilogue("uint8", 0, 127)),
    Average(Window(2, 4, 9, 512, (4, 9)), Activations(-63, 63, "int8"), Epilogue("float32", -np.inf, np.inf)),
    Average(Window(1, 56, 56, 16, (56, 56)), Activations(0, 255, "uint8", "high")),
    Average(Window(1, 3, 3, 7, (3, 3)), Activations(-128, 127, "int8", "low"), Epilogue("int8", -128, 127)),
]


AVERAGES = st.builds(Average, windows(), activations(), epilogues(), st.booleans(), SEEDS)


@given(st.lists(AVERAGES, min_size=1, max_size=8))
@example(GLOBAL)
@few(6)
def test_average(cpu, folder, drawn):
    jobs = [case.job(cpu.bits // 32) for case in drawn]
    results = cpu.run(folder, [(func, arguments) for func, arguments, _ in jobs])
    for case, (_, _, expected), got in zip(drawn, jobs, results, strict=True):
        np.testing.assert_array_equal(got, expected, strict=True, err_msg=repr(case))


@given(windows(), SEEDS, st.booleans())
@few(8)
def test_float_average(cpu, folder, window, seed, residual):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(window.shape, dtype="float32")
    ones = np.ones((1, 1, window.height, window.width), "int8")
    acc, count = ops.avg_pool_acc(ones, *window.geometry)
    limits = np.array([-0.5, 1], "float32")
    func = avg_pool(window.pool(), "float32", cpu.bits // 32, Output("float32", "float32" if residual else None))
    extra = [rng.standard_normal(window.pool().out_shape, dtype="float32")] if residual else []
    (got,) = cpu.run(folder, [(func, [x, np.float32(1 / count[0, 0]), limits, *extra])])
    # integers of 2^-20 steps: their sums are exact
    acc, _ = ops.avg_pool_acc(np.rint(_nchw(x) * 2.0**20).astype("int64"), *window.geometry)
    total = (acc / count * 2.0**-20).transpose(0, 2, 3, 1)
    expected = np.clip(total + extra[0] if residual else total, *limits)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@st.composite
def maxima(draw):
    """A window, a dtype and a seed."""
    return draw(windows()), draw(st.sampled_from(["int8", "uint8", "float32"])), draw(SEEDS)


@given(st.lists(maxima(), min_size=1, max_size=8))
@example(
    [
        (Window(1, 14, 14, 64, (3, 3), (2, 2), (1, 1, 1, 1)), "int8", 0),
        (Window(1, 13, 13, 96, (3, 3), (2, 2), ceil_mode=True), "uint8", 1),
        (Window(1, 1, 1, 3, (3, 3), (1, 1), (1, 1, 1, 1)), "int8", 2),
    ]
)
@few(6)
def test_maximum(cpu, folder, drawn):
    """Padding never wins, not even against the least element."""
    jobs, expected = [], []
    for window, dtype, seed in drawn:
        rng = np.random.default_rng(seed)
        if dtype == "float32":
            x = rng.standard_normal(window.shape, dtype="float32") - 3
        else:
            limits = np.iinfo(dtype)
            x = rng.integers(limits.min, rng.integers(limits.min, limits.max) + 1, window.shape, dtype, endpoint=True)
        lanes = cpu.bits // 32 if dtype == "float32" else cpu.bits // 8
        jobs.append((max_pool(window.pool(), dtype, lanes), [x]))
        expected.append(ops.max_pool(_nchw(x), *window.geometry).transpose(0, 2, 3, 1))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))


def _nchw(x):
    return x.transpose(0, 3, 1, 2)
