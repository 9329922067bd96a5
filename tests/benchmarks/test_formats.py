"""The benchmark of quantized networks that come and go."""

import json

import numpy as np
import pytest
from onnx_models import write_model

import formats
from agreement.figures import compare, output_step
from peers.trained import FACES


def test_decisions_and_margins():
    ours = [np.float32([[1, 2, 9], [5, 4, 0], [1, 4, 3]])]
    theirs = [np.float32([[1, 2, 9], [4, 5, 0], [1, 4, 3]])]
    found = compare(ours, theirs, "cifar10", step=0.5)
    assert found["n"] == 3 and found["agreement"] == found["identical"] == pytest.approx(2 / 3)
    assert found["difference"] == 2 and found["in_steps"]
    assert found["margin"] == 1.0  # of the margins 7, 1 and 1
    assert compare(ours, ours, "cifar10")["margin"] == 0


def test_faces():
    scores, boxes = np.zeros((1, 4420, 2), np.float32), np.zeros((1, 4420, 4), np.float32)
    none = [scores, boxes]
    some = [scores.copy(), boxes]
    some[0][0, 4000, 1] = 0.9
    assert compare(some, some, FACES)["agreement"] == 1
    assert compare(some, none, FACES)["agreement"] == compare(none, some, FACES)["agreement"] == 0


def test_step_of_the_output(tmp_path):
    nodes = [("QuantizeLinear", "x s z", "q", {}), ("DequantizeLinear", "q s z", "y", {})]
    constants = {"s": np.float32(0.25), "z": np.uint8(3)}
    assert output_step(write_model(tmp_path / "a.onnx", nodes, {"x": (1, 3)}, ["y"], constants)) == 0.25
    assert output_step(write_model(tmp_path / "b.onnx", [("Relu", "x", "y", {})], {"x": (1, 3)}, ["y"])) is None


@pytest.mark.exhaustive
def test_a_network_out_and_in(data, monkeypatch, capsys):
    arguments = ["formats.py", "--data", str(data), "--work", str(data / "work"), "--limit", "20", "--images", "8"]
    arguments += ["--quantized", "digits", "--schemes", "int8", "--again", "5"]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(formats, "quantizers", lambda: QUANTIZERS[:1])
    assert formats.main() == 0
    results = json.loads((data / "work" / "formats.json").read_text())["results"]
    (incoming,), (outgoing,) = (list(results[which]["digits"].values()) for which in ("in", "out"))
    assert incoming["n"] == outgoing["n"] == 20 and incoming["agreement"] >= 0.9 and outgoing["agreement"] >= 0.9
    assert outgoing["same"] and outgoing["itself"]["agreement"] >= 0.9
    printed = capsys.readouterr().out
    assert "| digits | onnxruntime-int8-minmax | 20 |" in printed and "| digits | int8 | 20 |" in printed


QUANTIZERS = formats.quantizers()
