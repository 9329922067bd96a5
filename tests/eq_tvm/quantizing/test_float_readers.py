"""What reads an input of the network as a float gets it as it was given, whatever 8 bits others of its readers need."""

import numpy as np
import pytest
from onnx_models import random, write_model

import eq_tvm

SHAPE = (1, 4, 8, 8)


def network(path, nodes, outputs):
    made = [("Conv", "x w", "conv", {"pads": [1] * 4}), *nodes]
    return write_model(path, made, {"x": SHAPE}, outputs, {"w": random(4, 4, 3, 3)})


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def compiled(path, **options):
    calibration = path.with_name("images.npz")
    np.savez(calibration, x=np.random.default_rng(1).normal(size=(6, *SHAPE[1:])).astype(np.float32) / 5)
    return eq_tvm.compile(path, calibration=calibration, output=path.with_suffix(".eqtvm"), **options)


# Far beyond the images, where 8 bits would saturate
BEYOND = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32) * 50


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([("Identity", "x", "y", {})], lambda x, conv: x),
        ([("Add", "x conv", "y", {})], lambda x, conv: x + conv),
        ([("Sub", "conv x", "y", {})], lambda x, conv: conv - x),
        ([("Sin", "x", "y", {})], lambda x, conv: np.sin(x)),
        ([("Relu", "x", "y", {})], lambda x, conv: np.maximum(x, 0)),
        ([("Sigmoid", "x", "s", {}), ("Mul", "x s", "y", {})], lambda x, conv: x / (1 + np.exp(-x.astype(np.float64)))),
        ([("ReduceSum", "x", "y", {"keepdims": 0})], lambda x, conv: x.sum()),
        ([("Softmax", "x", "y", {"axis": 1})], lambda x, conv: softmax(x)),
    ],
)
def test_outputs(tmp_path, nodes, expected):
    bundle = compiled(network(tmp_path / "net.onnx", nodes, ["conv", "y"]))
    assert [layer["layer"] for layer in bundle.calibration["layers"]] == ["n0"]
    found = eq_tvm.load(bundle).run(BEYOND)
    np.testing.assert_allclose(found["y"], expected(BEYOND, found["conv"]), rtol=2e-5, atol=1e-5)


def test_what_has_no_layers_stays_float(tmp_path):
    """A Relu and an average: 8 bits would gain nothing, and lose much."""
    nodes = [("Relu", "x", "r", {}), ("GlobalAveragePool", "r", "y", {})]
    path = write_model(tmp_path / "net.onnx", nodes, {"x": SHAPE}, ["y"])
    with pytest.warns(UserWarning, match="computes in float32: it has no convolution"):
        bundle = compiled(path)
    assert bundle.scheme == "float32" and bundle.calibration is None
    found = eq_tvm.load(bundle).run(BEYOND)["y"]
    np.testing.assert_allclose(found, np.maximum(BEYOND, 0).mean((2, 3), keepdims=True), rtol=1e-6)
