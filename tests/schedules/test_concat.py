"""Concatenation along the innermost axis."""

import numpy as np
from cases import SEEDS, few
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.concat import concat

WIDTHS = st.lists(st.one_of(st.integers(1, 20), st.sampled_from([32, 48, 64, 100, 128])), min_size=1, max_size=5)
DTYPES = st.sampled_from(["int8", "uint8", "float32"])
CASES = st.tuples(st.integers(1, 300), WIDTHS, DTYPES, SEEDS)


@given(st.lists(CASES, min_size=1, max_size=8))
@example([
    (55 * 55, [64, 64], "uint8", 0), (1000, [3, 5, 17], "int8", 1), (4100, [4], "float32", 2), (3, [5000], "int8", 3),
])
@few(5)
def test_concat(cpu, folder, drawn):
    jobs = []
    for rows, widths, dtype, seed in drawn:
        rng = np.random.default_rng(seed)
        parts = [rng.integers(0, 128, (rows, width)).astype(dtype) for width in widths]
        jobs.append((concat(rows, widths, dtype), parts))
    for case, (_, parts), got in zip(drawn, jobs, cpu.run(folder, jobs), strict=True):
        np.testing.assert_array_equal(got, np.concatenate(parts, axis=1), strict=True, err_msg=repr(case))
