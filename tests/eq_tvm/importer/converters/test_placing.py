"""Operators that place elements by an index, against onnx's reference."""

import numpy as np
import pytest
from onnx_models import random
from onnx_nodes import check_node


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_one_hot(tmp_path, axis, dtype):
    check_node(tmp_path, "OneHot", [np.array([[0, -1], [3, 2]])], [np.array(4), np.array([2, 5], dtype)], axis=axis)


@pytest.mark.parametrize("batch", [0, 1])
def test_reversed_sequences(tmp_path, batch):
    lengths = np.array([1, 3, 2])
    check_node(tmp_path, "ReverseSequence", [random(3, 3, 2), lengths], batch_axis=batch, time_axis=1 - batch)


@pytest.mark.parametrize("mode,start", [("linear", [0, 2]), ("circular", [3, 2])])
def test_cache(tmp_path, mode, start):
    inputs = [random(2, 1, 4, 3), random(2, 1, 2, 3, seed=1), np.array(start)]
    check_node(tmp_path, "TensorScatter", inputs, opset=24, mode=mode)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64"])
@pytest.mark.parametrize("largest", [0, 1])
def test_largest(tmp_path, dtype, largest):
    values = np.array([[7, 100, 3, 5]]).astype(dtype)
    if dtype == "uint64":
        values[0, 2] = 2**63 + 5
    check_node(tmp_path, "TopK", [values], [np.array([2])], outputs=2, opset=24, largest=largest)


@pytest.mark.parametrize("indices", [[[0, -1], [2, 1]], [2, -3]])
def test_gather_by_what_is_computed(tmp_path, indices):
    check_node(tmp_path, "Gather", [random(3, 4), np.array(indices)])
