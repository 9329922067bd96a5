"""Table lookups: the entry of each integer."""

from __future__ import annotations

import numpy as np
import pytest
from cases import ACTIVATION_RANGES, SEEDS, Activations, activations, few
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.operators.table import lookup, pack_table, vector_lookup

# Sizes around what is unrolled and above what is shared among threads.
SHAPES = st.one_of(
    st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    st.sampled_from([(9,), (64,), (1, 10), (2, 7, 7, 33), (1, 28, 28, 32), (17, 1023)]),
)
TABLES = st.sampled_from(["int8", "uint8", "int16", "float32"])
EVERY_INTEGER = [
    ((1, 40, 40, 48), Activations(low, high, dtype), table, 0)
    for low, high, dtype in ((-128, 127, "int8"), (0, 255, "uint8"))
    for table in ("int8", "uint8", "float32")
]


@given(st.lists(st.tuples(SHAPES, activations(), TABLES, SEEDS), min_size=1, max_size=8))
@example(EVERY_INTEGER)
@few(5)
def test_lookup(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, inputs, dtype, seed in drawn:
        rng = np.random.default_rng(seed)
        q = inputs.array(rng, shape)
        low, count = (inputs.low, inputs.high - inputs.low + 1) if inputs.dtype == "int16" else (0, 256)
        table = rng.normal(size=count) if dtype == "float32" else rng.permutation(count) % 256
        table = table.astype(dtype)
        jobs.append((lookup(shape, inputs.dtype, dtype, low, count), [q, table]))
        expected.append(table[q.astype(int) - low if inputs.dtype == "int16" else q.astype(int) % 256])
    _check(cpu, folder, drawn, jobs, expected)


SIZES = st.one_of(st.integers(64, 300), st.sampled_from([16384, 16385, 40_000]))
RANGES = st.sampled_from([*ACTIVATION_RANGES, (-3, 63), (5, 9), (-9, -2), (-1, 20)])


@given(st.lists(st.tuples(SIZES, RANGES, st.sampled_from(["int8", "uint8"]), SEEDS), min_size=1, max_size=8))
@example([(1000, (-128, 127), "int8", 0), (1000, (0, 255), "uint8", 1)])
@few(6)
def test_vector_lookup(cpu, folder, drawn):
    """Sizes that end within a vector, and ranges that need parts of the table only."""
    if cpu.is_32_bit:
        pytest.skip("there, entries are looked up one by one")
    jobs, expected, lanes = [], [], cpu.bits // 8
    for size, (low, high), dtype, seed in drawn:
        rng = np.random.default_rng(seed)
        q = Activations(low, high, "uint8" if high > 127 else "int8").array(rng, (size,))
        q[: high - low + 1] = np.arange(low, high + 1)[:size]
        table = rng.permutation(256).astype(dtype)
        func = vector_lookup(size, q.dtype.name, dtype, low, high, lanes)
        jobs.append((func, [q, pack_table(table, lanes)]))
        expected.append(table[q.astype(int) % 256])
    _check(cpu, folder, drawn, jobs, expected)


def _check(cpu, folder, drawn, jobs, expected):
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
