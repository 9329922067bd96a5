"""BatchNormalization in training mode, against ONNX Runtime."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, random, write_model

from eq_tvm.importer import import_onnx

PARAMETERS = {"s": random(3), "b": random(3, seed=1), "m": random(3, seed=2), "v": np.abs(random(3, seed=3))}


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (4, 3), (1, 3, 6)])
@pytest.mark.parametrize(
    "opset,outputs,attributes",
    [
        (15, "y mean var", {"training_mode": 1, "momentum": 0.8}),
        (15, "y", {}),
        (9, "y mean var saved_mean saved_var", {}),
        (9, "y", {}),
    ],
)
def test_statistics_of_the_batch(tmp_path, shape, opset, outputs, attributes):
    nodes = [("BatchNormalization", "x s b m v", outputs, attributes)]
    read = outputs.split() if opset > 9 else ["y"]  # exporters write results that nobody reads
    path = write_model(tmp_path / "m.onnx", nodes, {"x": shape}, read, PARAMETERS, opset=opset)
    check_against_onnxruntime(path)


def test_weights_that_are_standardized(tmp_path):
    """As PyTorch exports it before operator set 14: statistics of a constant, computed and given."""
    weights = random(4, 3, 3, 3)
    nodes = [
        ("Reshape", "w rows", "r", {}),
        ("BatchNormalization", "r ones zeros mean var", "n a b c d", {}),
        ("Reshape", "n shape", "k", {}),
        ("Conv", "x k", "y", {}),
    ]
    constants = {"w": weights, "rows": np.array([1, 4, 27]), "shape": np.array([4, 3, 3, 3])}
    constants |= {"ones": np.ones(4, "float32"), "zeros": np.zeros(4, "float32")}
    constants |= {"mean": weights.mean((1, 2, 3)), "var": weights.var((1, 2, 3))}
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], constants, opset=11)
    check_against_onnxruntime(path)
    assert len(import_onnx(path)["main"].body.blocks[0].bindings) == 1
