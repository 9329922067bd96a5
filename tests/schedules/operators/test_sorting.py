"""The kernel of TopK, against numpy's stable sort."""

import numpy as np
import pytest
import tvm

from eq_tvm.schedules.operators.sorting import top_k


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint64", "int64"])
@pytest.mark.parametrize(
    "outer,extent,inner,k", [(1, 1, 1, 1), (1, 2, 1, 2), (3, 7, 2, 4), (1, 64, 1, 3), (2, 99, 1, 99)]
)
def test_top_k(outer, extent, inner, k, dtype, largest):
    numbers = np.arange(20, dtype=dtype) + np.array(2**64 - 20 if dtype == "uint64" else -10, dtype)
    ranks = np.random.default_rng(extent).integers(0, min(3 + extent // 3, 20), (outer, extent, inner))  # some equal
    data = numbers[ranks]
    order = np.argsort(-ranks if largest else ranks, axis=1, kind="stable")[:, :k]
    run = tvm.compile(top_k(outer, extent, inner, k, dtype, largest).with_attr("global_symbol", "run"), "llvm")
    values, places = (tvm.runtime.tensor(np.zeros((outer, k, inner), each)) for each in (dtype, "int64"))
    run(tvm.runtime.tensor(data), values, places)
    np.testing.assert_array_equal(places.numpy(), order)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(data, order, 1))
