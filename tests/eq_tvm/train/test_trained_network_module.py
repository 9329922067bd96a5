"""Networks in PyTorch: operators compute what the float network does, or are refused by name."""

import pytest

from eq_tvm.errors import UserError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from trained_nets import BETWEEN, begun  # noqa: E402

from eq_tvm.train.network import TrainedNetwork, check_same  # noqa: E402
from eq_tvm.train.steps import descend  # noqa: E402


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_operators(tmp_path, between):
    what = begun(tmp_path, between)
    network = TrainedNetwork(what.problem, what.scales)
    images = [x[:3] for x in what.problem.inputs.values()]
    check_same(network, images)
    with torch.no_grad():
        network.weights[str(what.problem.net.layers()[0])] *= 1.1
    with pytest.raises(UserError, match="computes something else"):
        check_same(network, images)


def test_what_there_is_no_operator_for_is_named(tmp_path):
    what = begun(tmp_path, [("Round", "r", "z", {})])
    with pytest.raises(UserError, match=r"node n2.* can't be trained: --method mse\+ --refine blocks"):
        TrainedNetwork(what.problem, what.scales)


def test_judging_leaves_training_as_it_is(tmp_path):
    """Bits are dropped, and rounding has a gradient, behind a report as well."""
    what = begun(tmp_path, BETWEEN["pooling"])
    network, teacher = (TrainedNetwork(what.problem, what.scales) for _ in range(2))
    teacher.quantized = False
    images = [torch.from_numpy(x[:3, 0]) for x in what.problem.inputs.values()]
    modes = []
    network.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    for _ in descend(network, teacher, iter([(images, None)] * 3), 3, 1e-3):
        network.eval()
    assert modes == [True] * 3
