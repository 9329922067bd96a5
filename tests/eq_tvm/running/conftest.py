"""A network whose kernels run on all threads that there are: the one of tiny.py is too small for that."""

import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm.artifacts.bundle import Bundle


@pytest.fixture(scope="session")
def parallel(tmp_path_factory) -> Bundle:
    """From x (1, 3, 32, 32) to y (1, 16, 32, 32)."""
    return _compiled(tmp_path_factory.mktemp("parallel"), 16)


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> Bundle:
    """The same with an output of 8 channels."""
    return _compiled(tmp_path_factory.mktemp("other"), 8)


def _compiled(folder, channels):
    model = write_model(
        folder / "network.onnx",
        [
            ("Conv", "x w", "c", {"pads": [1, 1, 1, 1]}),
            ("Relu", "c", "r", {}),
            ("Conv", "r v", "y", {"pads": [1, 1, 1, 1]}),
        ],
        {"x": [1, 3, 32, 32]},
        ["y"],
        {"w": random(16, 3, 3, 3), "v": random(channels, 16, 3, 3, seed=1)},
    )
    return eq_tvm.compile(model, calibration="random", images=2, output=folder / "network.eqtvm")
