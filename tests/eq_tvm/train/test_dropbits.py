"""Bits that are dropped at random, their prices, and the widths that are chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.bits.dropbits import DropBits, chosen_widths, expected_price, limit  # noqa: E402
from eq_tvm.train.bits.gates import Gates  # noqa: E402
from eq_tvm.train.quantizers import LSQ  # noqa: E402


def test_limits_are_the_schemes():
    from eq_tvm.passes.quantized.quantizers import WEIGHT_LIMITS

    assert [limit(width) for width in range(4, 9)] == [WEIGHT_LIMITS[f"int{width}"] for width in range(4, 9)]


def test_gates_are_open_as_often_as_they_say():
    torch.manual_seed(0)
    gates = Gates([0.9, 0.5, 0.8])
    samples = torch.stack([gates.sampled() for _ in range(4000)]).detach()
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    assert (samples[:, :-1] >= samples[:, 1:]).all()  # none is open behind one that is closed
    torch.testing.assert_close(gates.probabilities.detach(), torch.tensor([0.9, 0.45, 0.36]))
    torch.testing.assert_close(samples.mean(0), gates.probabilities.detach(), atol=0.03, rtol=0)


def test_gates_learn():
    gates = Gates([0.5])
    descent = torch.optim.Adam(gates.parameters(), 0.1)
    torch.manual_seed(0)
    for _ in range(200):
        descent.zero_grad()
        (-gates.sampled().sum()).backward()
        descent.step()
    assert gates.probabilities.item() > 0.8


def test_outer_points_are_dropped_together():
    torch.manual_seed(0)
    widest = LSQ(torch.tensor(0.25), -7, 7)
    dropped = DropBits.of_outer_points(widest)
    x = torch.linspace(-2, 2, 101)
    narrow = LSQ(torch.tensor(0.25), -3, 3)(x)
    found = [dropped(x) for _ in range(100)]
    kinds = ["all" if torch.equal(y, widest(x)) else "dropped" if torch.equal(y, narrow) else "?" for y in found]
    assert set(kinds) == {"all", "dropped"}
    assert kinds.count("dropped") < 40
    assert torch.equal(dropped.eval()(x), widest(x))
    assert dropped.quantizers[0].log_scale is widest.log_scale


def test_expected_price():
    prices = torch.tensor([1.0, 3.0, 10.0])
    assert expected_price(prices, Gates([0.5, 0.5])).item() == pytest.approx(1 + 0.5 * 2 + 0.25 * 7)


increasing = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.cumsum)


@given(
    layers=st.lists(st.tuples(increasing, st.lists(st.floats(0, 1), min_size=2, max_size=2)), min_size=1, max_size=5),
    share=st.floats(0, 1),
)
def test_chosen_widths_cost_no_more_than_the_budget(layers, share):
    prices = [torch.from_numpy(price).float() for price, _ in layers]
    likely = [torch.tensor(sorted(each, reverse=True)) for _, each in layers]
    least, most = (sum(float(price[end]) for price in prices) for end in (0, -1))
    budget = least + share * (most - least)
    places = chosen_widths(likely, prices, budget)
    assert sum(float(price[place]) for price, place in zip(prices, places, strict=True)) <= budget + 1e-4
    if share == 1:
        assert places == [2] * len(layers)


def test_what_is_likeliest_is_bought_first():
    prices = [torch.tensor([1.0, 2.0, 3.0])] * 3
    likely = [torch.tensor(each) for each in ([0.9, 0.8], [0.7, 0.1], [0.3, 0.2])]
    assert chosen_widths(likely, prices, 6.0) == [2, 1, 0]
