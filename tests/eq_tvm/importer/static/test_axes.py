"""Axes counted from behind in operator sets that do not know such, and in no list, against ONNX Runtime."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, write_model


@pytest.mark.parametrize("opset", [9, 10, 11])
@pytest.mark.parametrize(
    "nodes",
    [
        [("Concat", "x x", "y", {"axis": -1})],
        [("Concat", "x x", "y", {"axis": -3})],
        [("GlobalAveragePool", "x", "p", {}), ("Squeeze", "p", "s", {"axes": [-2, -1]}), ("Softmax", "s", "y", {})],
        [("Squeeze", "x", "y", {"axes": [-4]})],
        [("Unsqueeze", "x", "y", {"axes": [-1, -3]})],
        [("ReduceMean", "x", "y", {"axes": [-2, -1], "keepdims": 0})],
        [("Softmax", "x", "y", {"axis": -1})],
        [("Split", "x", "a b", {"axis": -1}), ("Sub", "a b", "y", {})],
        [("ArgMax", "x", "a", {"axis": -2}), ("Cast", "a", "y", {"to": 1})],
    ],
    ids=lambda nodes: nodes[-1][0],
)
def test_from_behind(tmp_path, nodes, opset):
    check_against_onnxruntime(write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 5, 4)}, ["y"], opset=opset))


def test_slice(tmp_path):
    nodes = [("Slice", "x", "y", {"axes": [-1], "starts": [1], "ends": [-1]})]
    check_against_onnxruntime(write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 5, 4)}, ["y"], opset=9))


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_an_axis_that_is_in_no_list(tmp_path, axis):
    """As torch's exporter has it where several queries share a key; ONNX Runtime takes it."""
    axes = {"axis": np.array(axis, np.int64)}
    nodes = [("Unsqueeze", "x axis", "u", {}), ("Mul", "u u", "y", {})]
    check_against_onnxruntime(write_model(tmp_path / "m.onnx", nodes, {"x": (2, 3, 4)}, ["y"], axes, opset=18))
