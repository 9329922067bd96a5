"""Transpositions of any shape and type, beside numpy's."""

from __future__ import annotations

import itertools

import numpy as np
from cases import few
from hypothesis import example, given
from hypothesis import strategies as st

from eq_tvm.schedules.moves.transpose import transpose

EXTENTS = st.one_of(st.integers(2, 9), st.sampled_from([16, 17, 64, 130]))


def _orders(rank):
    """Those that leave no two axes side by side."""
    orders = itertools.permutations(range(rank))
    return [axes for axes in orders if all(after != axis + 1 for axis, after in itertools.pairwise(axes))]


@st.composite
def transpositions(draw):
    shape = draw(st.lists(EXTENTS, min_size=2, max_size=5).filter(lambda shape: np.prod(shape) <= 200_000))
    axes = draw(st.sampled_from(_orders(len(shape))))
    return tuple(shape), tuple(axes), draw(st.sampled_from(["int8", "uint8", "float32"]))


@given(st.lists(transpositions(), min_size=1, max_size=10))
@example(
    [
        ((7, 5, 2, 3, 33), (4, 0, 2, 1, 3), "float32"),
        ((784, 58, 2), (0, 2, 1), "int8"),
        ((8, 3, 2, 48), (3, 1, 0, 2), "float32"),
        ((32, 48), (1, 0), "float32"),
        ((37, 3, 50), (2, 1, 0), "float32"),  # squares that overlap
        ((2, 37, 2, 21), (3, 0, 1, 2), "float32"),
    ]
)
@few(6)
def test_transpose(cpu, folder, drawn):
    jobs, expected = [], []
    for shape, axes, dtype in drawn:
        extents = [shape[axis] for axis in axes]
        result = (1, *extents) if len(axes) % 2 else (*extents[:-2], 1, extents[-2] * extents[-1])
        x = np.random.default_rng(0).integers(0, 127, shape).astype(dtype)
        jobs.append((transpose(shape, axes, result, dtype, cpu.bits // 32), [x]))
        expected.append(x.transpose(axes).reshape(result))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_array_equal(got, want, err_msg=repr(case))
