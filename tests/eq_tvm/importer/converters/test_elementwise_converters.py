"""Operators element by element, against onnx's reference."""

import numpy as np
import pytest
from onnx_models import random
from onnx_nodes import check_node

SPECIAL = np.array([1, np.inf, -np.inf, np.nan, -2], "float32")


@pytest.mark.parametrize("base", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("exponent", ["float32", "int32", "int64"])
def test_power_of_two_dtypes(tmp_path, base, exponent):
    check_node(tmp_path, "Pow", [np.array([1, 2, 3, 7], base), np.array([3, 0, 2, 1], exponent)])


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("negative", [0, 1])
def test_infinity_of_one_sign(tmp_path, positive, negative):
    check_node(tmp_path, "IsInf", [SPECIAL], detect_positive=positive, detect_negative=negative)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operator", ["Cosh", "Sinh"])
def test_hyperbolic(tmp_path, operator, dtype):
    values = np.array([0, 1e-6, -0.5, 0.9999, 1.0001, 20, -88.9, 88.9], dtype)
    check_node(tmp_path, operator, [values], tolerance=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operator", ["Celu", "Elu", "Selu", "ThresholdedRelu"])
def test_activations(tmp_path, operator, dtype):
    if (operator, dtype) != ("Celu", "float64"):
        check_node(tmp_path, operator, [random(40).astype(dtype)], alpha=1.3)


def test_sign_of_unsigned_integers(tmp_path):
    check_node(tmp_path, "Sign", [np.array([0, 1, 200], "uint8")])


@pytest.mark.parametrize("operator", ["Equal", "And", "Or", "Xor"])
def test_booleans(tmp_path, operator):
    check_node(tmp_path, operator, [np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)])
