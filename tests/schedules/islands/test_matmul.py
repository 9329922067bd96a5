"""Products of two float matrices: those of numpy, for any size and tile."""

from __future__ import annotations

import numpy as np
import pytest
from cases import SEEDS, few
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.islands.matmul import Tile, choose_tile, matmul
from eq_tvm.schedules.processor.instructions import fma

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 70))
CASE = st.tuples(SIZES, st.none() | st.builds(Tile, st.integers(1, 7), st.integers(1, 3)), SEEDS)


@given(st.lists(CASE, min_size=1, max_size=6))
@example([((3, 197, 64, 197), None, 0), ((3, 197, 197, 64), None, 1), ((1, 49, 32, 49), None, 2)])
@few(5)
def test_matmul(cpu, folder, drawn):
    lanes, jobs, expected = cpu.bits // 32, [], []
    for (batch, rows, depth, columns), tile, seed in drawn:
        rng = np.random.default_rng(seed)
        a, b = (rng.normal(size=(batch, *shape)).astype("float32") for shape in ((rows, depth), (depth, columns)))
        tile = tile or choose_tile(rows, columns, lanes, fma(lanes, cpu.features).registers)
        jobs.append((matmul(batch, rows, depth, columns, tile, lanes), [a, b]))
        expected.append(a.astype("float64") @ b.astype("float64"))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4, err_msg=repr(case))


@pytest.mark.parametrize("registers", [16, 32])
@pytest.mark.parametrize("rows, columns", [(1, 1), (197, 197), (197, 64), (3, 1000), (1000, 3)])
def test_tiles_fit_the_registers(rows, columns, registers):
    tile = choose_tile(rows, columns, 8, registers)
    assert tile.rows * tile.vectors + tile.vectors + 1 < registers and tile.rows <= rows
