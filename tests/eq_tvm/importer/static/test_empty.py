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


@pytest.mark.parametrize("opset", [12, 13, 15, 16])
@pytest.mark.parametrize("operator", ["GreaterOrEqual", "LessOrEqual"])
def test_comparisons(tmp_path, operator, opset):
    """Of which onnx infers no shape before operator set 16."""
    nodes = [(operator, "x half", "c", {}), ("Where", "c x half", "y", {})]
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (2, 5)}, ["y"], {"half": np.float32(0.5)}, opset=opset)
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
