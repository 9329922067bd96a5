"""Sparse constants, and functions that a file defines."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import check_against_onnxruntime, random, write_model

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx

SHAPE = (4, 3, 3, 3)


def sparse(indices, dims=SHAPE):
    values = numpy_helper.from_array(random(3), "w")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(indices, np.int64), "i"), dims)


def changed(path, change):
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("indices", [[0, 40, 80], [[0, 0, 0, 2], [1, 2, 0, 1], [3, 1, 2, 2]]])
@pytest.mark.parametrize("where", ["initializer", "constant"])
def test_sparse_weights(tmp_path, indices, where):
    nodes = [("Conv", "x w", "y", {})]
    if where == "constant":
        nodes.insert(0, ("Constant", "", "w", {"sparse_value": sparse(indices)}))
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 6, 6)}, ["y"])
    if where == "initializer":
        changed(path, lambda model: model.graph.sparse_initializer.append(sparse(indices)))
    check_against_onnxruntime(path)


@pytest.mark.parametrize("wrong", [sparse([0, 40, 8000]), sparse([0, 1, 2], (4, 3, 10**6, 10**6))])
def test_sparse_weights_that_are_none(tmp_path, wrong):
    path = write_model(tmp_path / "m.onnx", [("Conv", "x w", "y", {})], {"x": (1, 3, 6, 6)}, ["y"])
    changed(path, lambda model: model.graph.sparse_initializer.append(wrong))
    with pytest.raises(UserError, match=r"m\.onnx.*(out of range|sparse constant 'w' has)"):
        import_onnx(path)


def test_functions_that_are_called_as_standard_operators(tmp_path):
    """The operator is meant, as ONNX Runtime has it."""
    path = write_model(tmp_path / "m.onnx", [("Relu", "x", "a", {}), ("Twice", "a", "y", {})], {"x": (2, 5)}, ["y"])

    def add_functions(model):
        model.graph.node[1].domain = "own"
        model.opset_import.append(helper.make_opsetid("own", 1))
        opset = [helper.make_opsetid("", 17)]
        relu = helper.make_function("", "Relu", ["p"], ["q"], [helper.make_node("Neg", ["p"], ["q"])], opset)
        twice = helper.make_function("own", "Twice", ["p"], ["q"], [helper.make_node("Add", ["p", "p"], ["q"])], opset)
        model.functions.extend([relu, twice])

    check_against_onnxruntime(changed(path, add_functions))
