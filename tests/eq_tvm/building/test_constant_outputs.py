"""Networks with outputs that do not depend on what they read, or not on anything computed."""

import numpy as np
import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm.analysis import analyze

WEIGHTS = {"w": random(4, 3, 3, 3), "image": random(1, 3, 8, 8, seed=1), "c": random(3, seed=2)}
# Nodes, outputs, and the value of the last one
NETWORKS = {
    "all": ([("Mul", "c c", "y", {})], ["y"], WEIGHTS["c"] ** 2),
    "a layer": ([("Conv", "image w", "y", {})], ["y"], None),
    "one of two": ([("Conv", "x w", "a", {}), ("Mul", "c c", "y", {})], ["a", "y"], WEIGHTS["c"] ** 2),
    "both": ([("Neg", "c", "a", {}), ("Mul", "c c", "y", {})], ["a", "y"], WEIGHTS["c"] ** 2),
    "the input": ([("Identity", "x", "y", {})], ["y"], random(1, 3, 8, 8, seed=3)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_compiles(name, tmp_path):
    nodes, outputs, expected = NETWORKS[name]
    model = write_model(tmp_path / "net.onnx", nodes, {"x": (1, 3, 8, 8)}, outputs, WEIGHTS)
    np.savez(tmp_path / "images.npz", images=random(5, 3, 8, 8))
    for target in ("rpi4", "native"):
        bundle = eq_tvm.compile(
            model, scheme="int8", calibration=tmp_path / "images.npz", target=target, output=tmp_path / target
        )
    results = eq_tvm.load(bundle).run(random(1, 3, 8, 8, seed=3))
    assert list(results) == outputs
    if expected is not None:
        np.testing.assert_array_equal(results["y"], expected)


@pytest.mark.parametrize("name", ["all", "both"])
def test_nothing_is_lost(name, tmp_path):
    nodes, outputs, _ = NETWORKS[name]
    model = write_model(tmp_path / "net.onnx", nodes, {"x": (1, 3, 8, 8)}, outputs, WEIGHTS)
    np.savez(tmp_path / "images.npz", images=random(5, 3, 8, 8))
    found = analyze(model, calibration=tmp_path / "images.npz")
    assert (found["cosine"], found["sqnr_db"], found["layers"]) == (1.0, None, [])
