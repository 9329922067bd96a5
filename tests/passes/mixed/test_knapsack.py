"""The best choice for each unit, against all combinations."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.passes.mixed.knapsack import STEPS, front, within

CHOICES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=3)


@given(st.lists(CHOICES, max_size=6), st.integers(0, 300))
def test_equals_all_combinations(units, budget):
    """Cycles are whole and few here, so that rounding them to steps costs nothing."""
    every = [
        (sum(cycles for cycles, _ in picked), sum(error for _, error in picked)) for picked in itertools.product(*units)
    ]
    found = front(units)
    best = {(c, e) for c, e in every if not any((a <= c and b < e) or (a < c and b <= e) for a, b in every)}
    assert {(each.cycles, each.error) for each in found} == best
    assert [each.cycles for each in found] == sorted(each.cycles for each in found)
    for each in found:
        picked = [unit[number] for unit, number in zip(units, each.chosen, strict=True)]
        assert (each.cycles, each.error) == (sum(c for c, _ in picked), sum(e for _, e in picked))
    allowed = [error for cycles, error in every if cycles <= budget]
    if allowed:
        assert within(found, budget).error == min(allowed) and within(found, budget).cycles <= budget
    else:
        assert within(found, budget) == found[0]


def test_a_budget_is_never_exceeded_by_rounding():
    units = [[(1000.0 + 1 / 3, 1.0), (1000.0 + 1 / 3 + k * 0.7, 1.0 / k)] for k in range(2, 60)]
    found = front(units)
    for budget in (59_000, 60_000, 58_020.5):
        assert within(found, budget).cycles <= budget or within(found, budget) == found[0]
    assert found[-1].error == pytest.approx(sum(1 / k for k in range(2, 60))) and len(found) <= STEPS + 60
