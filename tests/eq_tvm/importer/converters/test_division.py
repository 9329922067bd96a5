"""Div and Mod, against onnx's reference, and by 0."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, random, write_model
from onnx_nodes import check_node, run_node, write_node

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx

INTEGERS = ["int8", "int32", "int64", "uint8", "uint64"]


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64", "uint8"])
def test_modulo_has_the_divisors_sign(tmp_path, dtype):
    values, divisors = [5, -5, 5, -5, 0], [3, 3, -3, -3, 3]
    if dtype == "uint8":
        values, divisors = np.abs(values), np.abs(divisors)
    check_node(tmp_path, "Mod", [np.array(values, dtype), np.array(divisors, dtype)])


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_divisors_that_the_data_choose(tmp_path, dtype):
    values, divisors = np.array([7, -7, 7, -7, 9, 0], dtype), np.array([2, 2, -2, -2, -1, 5], dtype)
    check_node(tmp_path, "Div", [values, divisors])


@pytest.mark.parametrize("operator", ["Div", "Mod"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_by_zero_end_nothing(tmp_path, operator, dtype):
    limits = np.iinfo(dtype)
    values = np.array([limits.min, limits.max, limits.min, 5], dtype)
    divisors = np.array([0, 0, np.array(-1).astype(dtype), 2], dtype)
    (got,) = run_node(tmp_path, operator, [values, divisors])
    assert got[3] == (2 if operator == "Div" else 1)


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_integers_by_a_constant_zero_are_refused(tmp_path, operator):
    write_node(tmp_path / "node.onnx", operator, [np.array([1, 2])], [np.array([3, 0])])
    with pytest.raises(UserError, match=rf"{operator} \(node 'y0'\): it divides integers by 0"):
        import_onnx(tmp_path / "node.onnx")


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_integers_by_minus_one(tmp_path, operator):
    check_node(tmp_path, operator, [np.array([5, -7, 0])], [np.array(-1)])


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)])
def test_floats_by_a_constant_zero_are_infinite(tmp_path, zero, shape):
    values = np.array([[1, -2], [np.nan, 0]], "float32")
    check_node(tmp_path, "Div", [values], [np.full(shape, zero, "float32")])


def test_a_layer_divided_by_zero(tmp_path):
    weights = {"w": random(4, 3, 3, 3), "z": np.float32(0)}
    nodes = [("Conv", "x w", "a", {}), ("Div", "a z", "b", {}), ("Sigmoid", "b", "y", {})]
    write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], weights)
    check_against_onnxruntime(tmp_path / "m.onnx")
