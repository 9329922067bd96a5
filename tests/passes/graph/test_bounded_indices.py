"""Indices that data choose never reach beyond a tensor, whatever they are."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import random

import eq_tvm

W = random(5, 4)
FAR = [5, 100, 10**6, 2**40, 2**63 - 1, -6, -100, -(10**6), -(2**40), -(2**63)]


def scattered(row):
    result = W.copy()
    result[row] = 1
    return result


# Node, the shape of its indices, and what index `i` (in bounds) everywhere gives.
CASES = {
    "Gather": ("W i", {}, (3,), lambda i: W[[i] * 3]),
    "GatherND": ("W i", {}, (3, 1), lambda i: W[[i] * 3]),
    "GatherElements": ("W i", {"axis": 0}, (2, 4), lambda i: W[[i] * 2]),
    "ScatterND": ("W i one", {}, (1, 1), scattered),
    "ScatterElements": ("W i one", {"axis": 0}, (1, 4), scattered),
}


def compiled(operator, inputs, attributes, shape, folder):
    constants = [numpy_helper.from_array(W, "W"), numpy_helper.from_array(np.ones((1, 4), "float32"), "one")]
    graph = helper.make_graph(
        [helper.make_node(operator, inputs.split(), ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("i", onnx.TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [constant for constant in constants if constant.name in inputs.split()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return eq_tvm.load(eq_tvm.compile(folder / "net.onnx", scheme="float32", verify=False, output=folder / "b"))


@pytest.mark.parametrize("operator", CASES)
def test_out_of_bounds_is_the_nearest(operator, tmp_path):
    inputs, attributes, shape, expected = CASES[operator]
    model = compiled(operator, inputs, attributes, shape, tmp_path)
    for index in [*range(-5, 5), *FAR]:
        nearest = index % 5 if -5 <= index < 5 else 4 if index > 0 else 0
        result = model.run({"i": np.full(shape, index)})["y"]
        np.testing.assert_array_equal(result, expected(nearest), err_msg=str(index))


def test_coordinates_have_bounds_of_their_own(tmp_path):
    model = compiled("GatherND", "W i", {}, (1, 2), tmp_path)
    for index, element in (((9, 0), W[4, 0]), ((0, 9), W[0, 3]), ((4, 4), W[4, 3]), ((-9, -9), W[0, 0])):
        assert model.run({"i": np.array([index])})["y"] == element


def test_lengths_of_sequences(tmp_path):
    model = compiled("ReverseSequence", "W i", {"batch_axis": 0, "time_axis": 1}, (5,), tmp_path)
    for length in FAR:
        expected = W[:, ::-1] if length > 0 else W
        np.testing.assert_array_equal(model.run({"i": np.full(5, length)})["y"], expected)
