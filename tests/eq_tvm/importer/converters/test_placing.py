"""Operators that place elements by an index, against onnx's reference."""

import numpy as np
import pytest
from onnx_models import random
from onnx_nodes import check_node, run_node


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


@pytest.mark.parametrize("length", [4, 10**9, np.iinfo("int64").max])
def test_a_length_beyond_the_end_is_the_whole_sequence(tmp_path, length):
    data = random(3, 2, 2)
    got, want = (
        run_node(tmp_path, "ReverseSequence", [data, np.array([2, steps])], batch_axis=1, time_axis=0)
        for steps in (length, 3)
    )
    np.testing.assert_array_equal(got[0], want[0])


@pytest.mark.parametrize("start", [10**9, -(10**9)])
def test_a_place_beyond_the_cache_leaves_it(tmp_path, start):
    cache, new = random(2, 4, 3), random(2, 2, 3, seed=1)
    (got,) = run_node(tmp_path, "TensorScatter", [cache, new, np.array([start, 1])], opset=24)
    np.testing.assert_array_equal(got[0], cache[0])
    np.testing.assert_array_equal(got[1, 1:3], new[1])
