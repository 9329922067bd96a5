"""Nearest and bilinear resizing: what each row and column of the result is made of, exactly."""

from __future__ import annotations

import numpy as np
from cases import SEEDS, Activations, activations, few
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.operators.resize import WEIGHT_BITS, WIDE_WEIGHT_BITS, bilinear, nearest

CHANNELS = st.one_of(st.integers(1, 20), st.sampled_from([32, 33, 48, 64, 128]))
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 9), CHANNELS)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 12))


@given(st.lists(st.tuples(SHAPES, SIZES, activations(), SEEDS), min_size=1, max_size=8))
@example([((1, 28, 28, 64), (56, 56), Activations(0, 255, "uint8"), 0)])
@few(5)
def test_nearest(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, size, inputs, seed in drawn:
        rng = np.random.default_rng(seed)
        x = inputs.array(rng, shape)
        rows, columns = (rng.integers(0, n, m, "int32") for n, m in zip(shape[1:3], size, strict=True))
        jobs.append((nearest(shape, size, inputs.dtype, cpu.bits // 8), [x, rows, columns]))
        expected.append(x[:, rows][:, :, columns])
    _check(cpu, folder, drawn, jobs, expected)


EXTREME = [
    ((1, 5, 7, channels), (10, 14), Activations(low, high, dtype, values), 0)
    for low, high, dtype in ((-128, 127, "int8"), (0, 255, "uint8"))
    for values in ("low", "high", "both")
    for channels in (3, 64)
]


@given(st.lists(st.tuples(SHAPES, SIZES, activations(), SEEDS), min_size=1, max_size=8))
@example(EXTREME)
@few(5)
def test_bilinear(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, size, inputs, seed in drawn:
        rng = np.random.default_rng(seed)
        x = inputs.array(rng, shape)
        bits = WIDE_WEIGHT_BITS if inputs.dtype == "int16" else WEIGHT_BITS
        tables = [_table(rng, n, m, bits) for n, m in zip(shape[1:3], size, strict=True)]
        jobs.append((bilinear(shape, size, inputs.dtype, cpu.bits // 16, bits), [x, *tables]))
        rows, columns = (_matrix(table, n, bits) for table, n in zip(tables, shape[1:3], strict=True))
        total = np.einsum("hi,nijc,wj->nhwc", rows, x.astype("int64"), columns)
        expected.append(((total + 4**bits // 2) >> (2 * bits)).astype(x.dtype))
    _check(cpu, folder, drawn, jobs, expected)


def _table(rng, n, m, bits):
    """(m, 3): two elements of an axis of n, and the weight of the second, at times all or nothing."""
    weights = rng.choice([0, 1, 2**bits // 2, 2**bits, rng.integers(2**bits)], m)
    return np.column_stack([rng.integers(0, n, (m, 2)), weights]).astype("int32")


def _matrix(table, n, bits):
    """(m, n): the weight of each element of the axis."""
    matrix = np.zeros((len(table), n), "int64")
    for row, (first, second, weight) in zip(matrix, table, strict=True):
        row[first] += 2**bits - weight
        row[second] += weight
    return matrix


def _check(cpu, folder, drawn, jobs, expected):
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True, err_msg=repr(case))
