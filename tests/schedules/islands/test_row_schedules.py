"""Reductions and what is computed from them, along any axes: those of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from cases import SEEDS, few
from hypothesis import example, given
from hypothesis import strategies as st
from tvm import s_tir, te, tirx, topi

from eq_tvm.schedules.islands.fallback import fallback
from eq_tvm.schedules.islands.rows import by_rows


def _mean(x, axes):
    return topi.divide(topi.sum(x, axes, True), float(np.prod([int(x.shape[axis]) for axis in axes])))


def _normalized(x, axes):
    centred = topi.subtract(x, _mean(x, axes))
    return topi.divide(centred, topi.sqrt(topi.add(_mean(topi.multiply(centred, centred), axes), 1e-3)))


def _softmax(x, axes):
    e = topi.exp(topi.subtract(x, topi.max(x, axes, True)))
    return topi.divide(e, topi.sum(e, axes, True))


def _numpy_softmax(x, axes):
    e = np.exp(x - x.max(axes, keepdims=True))
    return e / e.sum(axes, keepdims=True)


# name: (TE function of a tensor and axes, numpy's)
OPERATORS = {
    "sum": (topi.sum, lambda x, axes: x.sum(axes)),
    "greatest": (lambda x, axes: topi.max(x, axes, True), lambda x, axes: x.max(axes, keepdims=True)),
    "least": (topi.min, lambda x, axes: x.min(axes)),
    "normalized": (
        _normalized,
        lambda x, axes: (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3),
    ),
    "softmax": (_softmax, _numpy_softmax),
}
SHAPES = st.lists(st.integers(1, 21), min_size=1, max_size=4).map(tuple) | st.tuples(
    st.integers(1, 5), st.integers(100, 700)
)
CASE = st.tuples(st.sampled_from(sorted(OPERATORS)), SHAPES, st.sets(st.integers(0, 3), min_size=1), SEEDS)


@given(st.lists(CASE, min_size=1, max_size=6))
@example([(name, (3, 49, 197), {axis}, 0) for name in ("softmax", "normalized") for axis in (1, 2)])
@example([("sum", (2, 5, 7, 9), {2, 3}, 0), ("normalized", (1, 6, 20, 20), {2, 3}, 1), ("least", (700,), {0}, 2)])
@few(5)
def test_equals_numpy(cpu, folder, drawn):
    jobs, expected = [], []
    for name, shape, axes, seed in drawn:
        axes = tuple(sorted({axis % len(shape) for axis in axes}))
        make, reference = OPERATORS[name]
        x = np.random.default_rng(seed).normal(size=shape).astype("float32")
        jobs.append((fallback(_prim_func(make, shape, axes), cpu.bits // 32), [x]))
        expected.append(np.asarray(reference(x.astype("float64"), axes)))
    for case, got, want in zip(drawn, cpu.run(folder, jobs), expected, strict=True):
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=2e-5, atol=2e-5, err_msg=repr(case))


@pytest.mark.parametrize("axis", [1, 2])
def test_a_softmax_computes_each_exponential_once(axis):
    text = fallback(_prim_func(OPERATORS["softmax"][0], (8, 64, 128), (axis,))).script()
    assert text.count("T.parallel(") == 1
    assert text.count("T.reinterpret(") == 4  # of one exp


def test_what_a_row_is_divided_by_becomes_a_factor():
    text = fallback(_prim_func(OPERATORS["softmax"][0], (8, 128), (1,))).script()
    assert text.count(" / ") == text.count("T.float32(1.0) / ") > 0


@pytest.mark.parametrize("length", [16, 20, 48, 64, 80])
def test_one_table_at_two_places(cpu, folder, length):
    """Where registers are long enough, tables of 16 to 64 floats are in them; places may have 64 bits."""
    shape, k = (3, 37), te.reduce_axis((0, 37), "k")
    q, table = te.placeholder(shape, "int32", "q"), te.placeholder((length,), "float32", "table")

    def both(i, j):
        place = q[i, j].astype("int64")
        return table[place] - 2.0 * table[length - 1 - place]

    found = te.compute(shape, both, "found")
    total = te.compute(shape[:1], lambda i: te.sum(found[i, k], axis=k), "total")
    result = te.compute(shape, lambda i, j: found[i, j] + total[i], "result")
    func = by_rows(s_tir.Schedule(te.create_prim_func([q, table, result])), cpu.bits // 32)
    rng = np.random.default_rng(0)
    places, values = rng.integers(0, length, shape, dtype="int32"), rng.integers(-9, 9, length).astype("float32")
    wanted = values[places] - 2 * values[length - 1 - places]
    (got,) = cpu.run(folder, [(func, [places, values])])
    np.testing.assert_array_equal(got, wanted + wanted.sum(1, keepdims=True))


def test_products_of_matrices_are_not_scheduled_so():
    a, b = te.placeholder((8, 9), name="a"), te.placeholder((9, 10), name="b")
    assert by_rows(s_tir.Schedule(te.create_prim_func([a, b, topi.matmul(a, b)])), 16) is None


def test_several_results_are_not_scheduled_so():
    assert by_rows(s_tir.Schedule(_prim_func(lambda x, axes: topi.argmax(x, axes), (8, 9), (1,))), 16) is None


def _prim_func(make, shape, axes) -> tirx.PrimFunc:
    x = te.placeholder(shape, "float32", "x")
    return te.create_prim_func([x, make(x, axes)])
