"""What training is judged by is the integer program, bit for bit."""

import numpy as np
import pytest
from interpreter import run_annotated

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from trained_nets import BETWEEN, begun  # noqa: E402

from eq_tvm.train.network import TrainedNetwork  # noqa: E402
from eq_tvm.train.written import annotated  # noqa: E402


@pytest.mark.parametrize("scheme", ["int4", "int8", "w8a12"])
@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_no_bit_differs(tmp_path, between, scheme):
    what = begun(tmp_path, between, scheme)
    network = TrainedNetwork(what.problem, what.scales).eval()
    (images,) = what.problem.inputs.values()
    with torch.no_grad():
        (found,) = network(torch.from_numpy(images[:, 0]))
    module = annotated(what.module, network, what.scales.ranges)
    expected = [run_annotated(module, {"x": x})[0] for x in images]
    np.testing.assert_array_equal(found.numpy(), np.concatenate(expected))
