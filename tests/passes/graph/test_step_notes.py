"""What steps of preparation noted, and that it ends with the calibration."""

import numpy as np
from onnx_models import random, write_model

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.passes.graph.notes import without_notes
from eq_tvm.passes.graph.step_notes import step_notes, with_step


def module(tmp_path):
    """A projection without an activation, with channels far from 0, in front of another layer; channels that differ."""
    weights = {"w": random(8, 3, 3, 3), "v": random(8, 8, 1, 1) * np.logspace(0, 2, 8).reshape(8, 1, 1, 1)}
    weights |= {"u": random(5, 8, 1, 1), "b": np.full(8, 3, np.float32), "c": np.full(5, 1, np.float32)}
    weights["v"] = weights["v"].astype(np.float32)
    nodes = [("Conv", "x w b", "a", {}), ("Relu", "a", "r", {}), ("Conv", "r v b", "p", {}), ("Conv", "p u c", "y", {})]
    return import_canonical(write_model(tmp_path / "net.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], weights))[0]


def test_notes_are_kept_apart(tmp_path):
    mod = module(tmp_path)
    noted = with_step(with_step(mod, "one", {"a": (1.00004, 0.5)}), "two", {"a": (2, 1), "b": (3, 4)})
    assert step_notes(noted) == {"a": {"one": (1.0, 0.5), "two": (2, 1)}, "b": {"two": (3, 4)}}
    assert step_notes(mod) == step_notes(without_notes(noted)) == {}


def test_the_record_has_them(tmp_path):
    mod, images = module(tmp_path), {"x": random(6, 3, 8, 8, seed=2)}
    prepared = pipeline.prepare(mod, images, method="mse+")
    annotated, record = pipeline.quantize(prepared, images, method="mse+")
    assert step_notes(prepared) and step_notes(annotated) == {}
    steps = {layer.layer: layer.steps for layer in record}
    before, after = steps["n3"]["center_channels"]  # it reads the projection
    assert after < before
    before, after = steps["n3"]["equalize"]  # whose channels differ by a hundred
    assert after < before
    assert all({"input", "weights", "bias"} <= set(each) for each in steps.values())
    assert not any(layer.steps for layer in pipeline.calibrate(mod, images, method="minmax")[1])
