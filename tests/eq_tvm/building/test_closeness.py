"""How close results are."""

import numpy as np

from eq_tvm.building.closeness import are_near, is_close, worst_error


def test_numbers():
    one = np.array([1.0, np.nan, np.inf], np.float32)
    assert is_close(one, one) and not is_close(one, one[:2])
    assert not is_close(one, np.array([1.0, 0.0, np.inf], np.float32))
    assert is_close(np.arange(200), np.arange(200)) and not is_close(np.arange(200), np.arange(200)[::-1].copy())


def test_outputs():
    ones, tiny = {"y": np.ones(3, np.float32)}, {"y": np.full(3, 1e-9, np.float32)}
    assert worst_error(ones, ones) == 0 and worst_error(tiny, ones) > 0.9 and worst_error(tiny, {"y": np.ones(2)}) > 1e9
    assert are_near(tiny, {"y": np.zeros(3, np.float32)}) and not are_near(tiny, ones)
