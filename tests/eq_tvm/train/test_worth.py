"""What bits are worth: an estimate of the loss that is the loss, and a price that is the budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import random, write_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from eq_tvm.train.bits.worth import curvatures, probabilities  # noqa: E402
from eq_tvm.train.losses import distillation  # noqa: E402
from eq_tvm.train.network import TrainedNetwork  # noqa: E402
from eq_tvm.train.start import start  # noqa: E402

ENDS = {
    "scores": [("Gemm", "f g", "y", {})],
    "probabilities": [("Gemm", "f g", "s", {}), ("Softmax", "s", "y", {"axis": 1})],
    "numbers": [("Gemm", "f g", "s", {}), ("Tanh", "s", "y", {})],
}


@pytest.fixture(params=ENDS.values(), ids=ENDS)
def network(request, tmp_path):
    nodes = [
        ("Conv", "x a", "c", {}),
        ("Relu", "c", "r", {}),
        ("GlobalAveragePool", "r", "p", {}),
        ("Flatten", "p", "f", {}),
        *request.param,
    ]
    write_model(
        tmp_path / "net.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], {"a": random(8, 3, 3, 3), "g": 2 * random(8, 5)}
    )
    np.savez(tmp_path / "x.npz", x=random(20, 3, 8, 8, seed=3))
    begun = start(
        tmp_path / "net.onnx", tmp_path / "x.npz", preprocess=None, scheme="int8", keep=None, progress=lambda *_: None
    )
    return TrainedNetwork(begun.problem, begun.scales)


def test_the_estimate_is_the_loss(network):
    """Of many small changes of a layer's weights, on average."""
    torch.manual_seed(0)
    inputs = [torch.from_numpy(random(20, 3, 8, 8, seed=3))]
    layers = network.problem.net.layers()
    found = curvatures(network, [inputs] * 300, layers)
    network.quantized = False
    with torch.no_grad():
        taught = network(*inputs)
        for i in layers:
            weight, losses, estimates = network.weights[str(i)], [], []
            for _ in range(60):
                change = 0.01 * weight.std() * torch.randn_like(weight)
                weight += change
                losses.append(distillation(network(*inputs), taught, network.kinds).item())
                weight -= change
                estimates.append((found[i] * change.square()).sum().item() / 2)
            assert np.mean(estimates) == pytest.approx(np.mean(losses), rel=0.3)


falling = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(lambda steps: np.cumsum(steps)[::-1].copy())
rising = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(np.cumsum)


@given(layers=st.lists(st.tuples(falling, rising), min_size=1, max_size=5), share=st.floats(0.2, 0.8))
def test_what_is_expected_costs_the_budget(layers, share):
    losses, prices = (list(map(torch.from_numpy, each)) for each in zip(*layers, strict=True))
    steps = [price[1:] - price[:-1] for price in prices]

    def expected(part):
        return sum(float(p[0] + (part ** torch.arange(1, 3) * s).sum()) for p, s in zip(prices, steps, strict=True))

    budget = expected(0.05) + share * (expected(0.95) - expected(0.05))
    likely = probabilities(losses, prices, budget)
    cost = sum(float(p[0] + (each.cumprod(0) * s).sum()) for p, each, s in zip(prices, likely, steps, strict=True))
    if all(float(loss[0] - loss[1]) > 1e-9 and float(loss[1] - loss[2]) > 1e-9 for loss in losses):
        assert cost == pytest.approx(budget, rel=1e-3)
    assert cost <= budget * 1.001


def test_what_saves_more_for_its_price_is_likelier():
    losses = [torch.tensor([4.0, 1.0]), torch.tensor([4.0, 1.0]), torch.tensor([4.0, 3.0])]
    prices = [torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), torch.tensor([1.0, 2.0])]
    first, dear, little = (float(each) for each in probabilities(losses, prices, 5.0))
    assert first > dear == pytest.approx(little)


def test_bits_that_cost_nothing_are_likely():
    likely = probabilities([torch.tensor([1.0, 1.0, 1.0])] * 2, [torch.tensor([1.0, 1.0, 2.0])] * 2, 3.0)
    assert all(each[0] > 0.9 > each[1] for each in likely)
