"""Each unit in turn as narrow as the whole lets it."""

from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.passes.mixed.greedy import greedy

CYCLES = [[10.0, 8.0, 5.0], [10.0, 4.0], [10.0, 9.0, 9.5, 2.0]]


def test_what_costs_nothing_goes_first():
    """The second unit may be narrow for nothing, the third one for 2 %, the first one never."""

    def error(chosen):
        return 1.0 + 100 * chosen[0] + 0.02 * (chosen[2] > 0)

    assert greedy(CYCLES, error, 24) == (0, 1, 0)
    assert greedy(CYCLES, error, 16) == (0, 1, 3)
    assert greedy(CYCLES, error, 30) == (0, 1, 0)  # which takes a step before it knows
    assert greedy(CYCLES, error, 0) == (2, 1, 3)


@given(
    st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=4), min_size=1, max_size=5),
    st.integers(0, 100),
    st.randoms(use_true_random=False),
)
def test_the_budget_is_met_where_it_can_be(cycles, budget, numbers):
    losses = [[0.0, *sorted(numbers.random() for _ in choices[1:])] for choices in cycles]

    def error(chosen):
        return 0.1 + sum(of_unit[k] for of_unit, k in zip(losses, chosen, strict=True))

    chosen = greedy(cycles, error, budget)
    spent = sum(of_unit[k] for of_unit, k in zip(cycles, chosen, strict=True))
    assert spent <= max(budget, sum(map(min, cycles)))
