"""Softmax of rows of integers: equal to the integer program."""

from __future__ import annotations

import integer_ops as ops
import numpy as np
from cases import SEEDS, Activations, activations, few, integer_outputs
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.common.epilogue import Output
from eq_tvm.schedules.rows.softmax import softmax, softmax_tables

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
        rng, scale = np.random.default_rng(seed), np.float64(np.float32(scale))
        q, to = source.array(rng, shape), np.float32(rng.choice([1 / 255, 1 / 127, 0.001, 2**-8]))
        count, lanes = source.high - source.low + 1, cpu.bits // 32
        func, tables = softmax(shape, source.dtype, count, lanes, Output(dtype)), softmax_tables(scale, count, lanes)
        inverse, limits = np.float32([1 / np.float64(to)]), np.array([low, high, 0], "int32")
        jobs.append((func, [q, *tables, inverse, limits]))
        terms = ops.softmax_terms(q.astype("int32"), scale, source.low, source.high)
        expected.append(ops.softmax(terms, to, low, high).astype(dtype))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
