"""What layers cost by their types."""

import numpy as np
import pytest
from onnx_models import canonical, random, write_model

from eq_tvm.passes import MSECalibrate, round_weights
from eq_tvm.passes.lower.lower_to_integer import LowerToInteger
from eq_tvm.passes.mixed.costs import costs
from eq_tvm.targets import get_target

IMAGES = {"x": random(4, 16, 16, 16, seed=4)}


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Kernels whose neighbours are alike, as those of trained networks."""
    smooth = [np.abs(random(64, channels, 3, 3, seed=seed)) + 1 for seed, channels in ((1, 16), (2, 64))]
    nodes = [("Conv", "x a", "t0", {}), ("Relu", "t0", "t1", {}), ("Conv", "t1 b", "y", {"pads": [1] * 4})]
    weights = dict(zip("ab", smooth, strict=True))
    path = write_model(tmp_path_factory.mktemp("net") / "net.onnx", nodes, {"x": (1, 16, 16, 16)}, ["y"], weights)
    return canonical(path)


def test_rounding_for_rows_is_counted_on(module):
    """Else int7 would seem to save nothing where bytes are multiplied fast, and int8 be taken everywhere."""
    rpi5 = get_target("rpi5")
    with rpi5.tvm_target():
        found, without = (
            costs(module, IMAGES, ("int7", "int8"), rpi5.machine, for_rows=for_rows).layers
            for for_rows in (True, False)
        )
        lowering = LowerToInteger(rpi5.machine)
        lowering(MSECalibrate(IMAGES, refine=round_weights)(module))
    _, second = found
    assert found[second]["int7"] < 0.9 * found[second]["int8"]
    assert without[second]["int7"] > 0.95 * without[second]["int8"]
    assert found[second]["int7"] == pytest.approx(lowering.cycles[second])
