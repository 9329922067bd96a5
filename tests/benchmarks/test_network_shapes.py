"""The networks with random weights: activations neither vanish nor explode."""

import numpy as np
import onnxruntime
import pytest

from peers import networks


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3", "efficientnet_lite0", "deit_tiny"])
def test_outputs_keep_their_size(name, tmp_path):
    networks.write(name, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    image = np.random.default_rng(0).standard_normal(networks.IMAGE, dtype=np.float32)
    (scores,) = session.run(None, {"input": image})
    assert 0.1 < scores.std() < 20
