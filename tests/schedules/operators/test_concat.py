"""Concatenation along the innermost axis."""

import numpy as np
from cases import SEEDS, few
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.operators.concat import concat

WIDTHS = st.lists(st.one_of(st.integers(1, 20), st.sampled_from([32, 48, 64, 100, 128])), min_size=1, max_size=5)
DTYPES = st.sampled_from(["int8", "uint8", "float32"])
CASES = st.tuples(st.integers(1, 300), WIDTHS, DTYPES, SEEDS)


@given(st.lists(CASES, min_size=1, max_size=8))
@example(
    [
        (55 * 55, [64, 64], "uint8", 0),
        (1000, [3, 5, 17], "int8", 1),
        (4100, [4], "float32", 2),
        (3, [5000], "int8", 3),
    ]
)
@few(5)
def test_concat(cpu, folder, drawn):
    jobs = []
    for rows, widths, dtype, seed in drawn:
        rng = np.random.default_rng(seed)
        parts = [rng.integers(0, 128, (rows, width)).astype(dtype) for width in widths]
        jobs.append((concat(rows, widths, dtype), parts))
    for case, (_, parts), got in zip(drawn, jobs, cpu.run(folder, jobs), strict=True):
        np.testing.assert_array_equal(got, np.concatenate(parts, axis=1), strict=True, err_msg=repr(case))


@given(st.lists(st.tuples(CASES, st.integers(0, 70)), min_size=1, max_size=4))
@example([((500, [64, 32], "uint8", 0), 64), ((9, [3, 5], "int8", 1), 7)])
@few(3)
def test_what_lies_between_stays(cpu, folder, drawn):
    """Inputs that are copied to places of their own, so many channels apart."""
    jobs, expected = [], []
    for (rows, widths, dtype, seed), apart in drawn:
        rng = np.random.default_rng(seed)
        parts = [rng.integers(0, 128, (rows, width)).astype(dtype) for width in widths]
        firsts = [apart + sum(width + apart for width in widths[:i]) for i in range(len(widths))]
        whole = firsts[-1] + widths[-1] + apart
        result = np.frombuffer(b"\xa5" * (rows * whole * parts[0].itemsize), dtype).reshape(rows, whole).copy()
        for part, first, width in zip(parts, firsts, widths, strict=True):
            result[:, first : first + width] = part
        jobs.append((concat(rows, widths, dtype, firsts, whole), parts))
        expected.append(result)
    for case, want, got in zip(drawn, expected, cpu.run(folder, jobs), strict=True):
        np.testing.assert_array_equal(got.view("uint8"), want.view("uint8"), strict=True, err_msg=repr(case))
