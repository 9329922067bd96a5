"""Quantized operators, against onnx's reference."""

import numpy as np
import pytest
from onnx_models import random
from onnx_nodes import check_node

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("axis", [0, 1])
def test_blocks(tmp_path, axis):
    shape = [4, 6]
    shape[axis] //= 2
    scale, zero = np.abs(random(*shape)) + 0.5, RNG.integers(0, 9, shape).astype("uint8")
    check_node(tmp_path, "QuantizeLinear", [random(4, 6) * 20], [scale, zero], axis=axis, block_size=2)
    values = RNG.integers(0, 255, (4, 6)).astype("uint8")
    check_node(tmp_path, "DequantizeLinear", [values], [scale, zero], axis=axis, block_size=2)


@pytest.mark.parametrize("column_scales", [False, True])
def test_product(tmp_path, column_scales):
    left, right = RNG.integers(0, 255, (3, 4)).astype("uint8"), RNG.integers(-128, 127, (4, 5)).astype("int8")
    scale = RNG.random(5).astype("float32") if column_scales else np.float32(0.3)
    zero = np.zeros(np.shape(scale), "int8")
    constants = [np.float32(0.1), np.uint8(100), right, scale, zero, np.float32(0.5), np.uint8(7)]
    check_node(tmp_path, "QLinearMatMul", [left], constants)
