"""Tensors without elements, and nodes that nobody compiles."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, random, write_model
from onnx_nodes import write_node

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx


def test_split_and_concat(tmp_path):
    nodes = [("Split", "x sizes", "a b c", {"axis": 1}), ("Relu", "b", "d", {}), ("Concat", "c d a", "y", {"axis": 1})]
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (2, 5)}, ["y"], {"sizes": np.array([2, 0, 3])})
    check_against_onnxruntime(path)


def test_concat_along_an_axis_from_behind(tmp_path):
    """As PyTorch writes it, before operator set 11 knew such axes."""
    path = write_model(tmp_path / "m.onnx", [("Concat", "x x", "y", {"axis": -1})], {"x": (2, 5)}, ["y"], opset=9)
    check_against_onnxruntime(path)


@pytest.mark.parametrize("operator", ["RandomNormalLike", "Bernoulli"])
def test_random(tmp_path, operator):
    write_node(tmp_path / "node.onnx", operator, [np.abs(random(3))])
    with pytest.raises(UserError, match="is random"):
        import_onnx(tmp_path / "node.onnx")


def test_other_domain(tmp_path):
    write_node(tmp_path / "node.onnx", "FusedConv", [random(1, 2, 5, 5)], [random(2, 2, 3, 3)], domain="com.microsoft")
    with pytest.raises(UserError, match="is an operator of com"):
        import_onnx(tmp_path / "node.onnx")
