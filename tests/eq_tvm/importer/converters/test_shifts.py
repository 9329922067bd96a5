"""BitShift by any amount, as onnx's opset 28 defines it."""

import numpy as np
import pytest
from onnx_nodes import run_node


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_more_than_all_bits_leave_zeros(tmp_path, dtype, direction):
    bits = np.iinfo(dtype).bits
    amounts = np.array([0, 1, 3, bits - 1, bits, bits + 1, 100, 255], dtype)
    values = np.full(len(amounts), np.iinfo(dtype).max - 5, dtype)
    (got,) = run_node(tmp_path, "BitShift", [values, amounts], direction=direction)
    value = int(values[0])
    exact = [value << int(k) if direction == "LEFT" else value >> int(k) for k in amounts]
    assert got.tolist() == [each % 2**bits for each in exact]
