"""Softmax of rows of integers: equal to the integer program."""

from __future__ import annotations

import integer_ops as ops
import numpy as np
from cases import SEEDS, Activations, activations, few, integer_outputs
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.rows.softmax import TABLE_BITS, softmax, table_form

SHAPES = st.tuples(st.integers(1, 9), st.one_of(st.integers(1, 70), st.sampled_from([197, 256, 700])))
SCALES = st.sampled_from([1e-4, 0.004, 0.05, 0.3, 20.0])


@given(st.lists(st.tuples(SHAPES, activations(), SCALES, integer_outputs(), SEEDS), min_size=1, max_size=8))
@example(
    [
        ((260, 65), Activations(-2047, 2047, "int16"), 0.02, ("uint8", 0, 255), 1),  # shared among threads
    ]
)
@few(5)
def test_softmax(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, source, scale, (dtype, low, high), seed in drawn:
        rng, scale = np.random.default_rng(seed), np.float32(scale)
        q, to = source.array(rng, shape), np.float32(rng.choice([1 / 255, 1 / 127, 0.001, 2**-8]))
        table = np.rint(np.exp(-np.float64(scale) * np.arange(source.high - source.low + 1)) * 2.0**TABLE_BITS)
        func = softmax(shape, source.dtype, len(table), cpu.bits // 32, Output(dtype))
        length, form = table_form(len(table), cpu.bits // 32)
        inverse, limits = np.float32([1 / np.float64(to)]), np.array([low, high, 0], "int32")
        entries = np.pad(table[::-1], (0, length - len(table))).astype(form)
        jobs.append((func, [q, entries, inverse, limits]))
        terms = ops.softmax_terms(q.astype("int32"), scale, source.low, source.high)
        expected.append(ops.softmax(terms, to, low, high).astype(dtype))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
