"""How close results are."""

import numpy as np

from eq_tvm.artifacts.bundle import Counted, TensorInfo
from eq_tvm.building.closeness import are_near, in_order, is_close, worst_error


def test_numbers():
    one = np.array([1.0, np.nan, np.inf], np.float32)
    assert is_close(one, one) and not is_close(one, one[:2])
    assert not is_close(one, np.array([1.0, 0.0, np.inf], np.float32))
    assert is_close(np.arange(200), np.arange(200)) and not is_close(np.arange(200), np.arange(200)[::-1].copy())


def test_outputs():
    ones, tiny = {"y": np.ones(3, np.float32)}, {"y": np.full(3, 1e-9, np.float32)}
    assert worst_error(ones, ones) == 0 and worst_error(tiny, ones) > 0.9 and worst_error(tiny, {"y": np.ones(2)}) > 1e9
    assert are_near(tiny, {"y": np.zeros(3, np.float32)}) and not are_near(tiny, ones)


def test_order_of_rows_that_are_sorted_by_what_is_close():
    rows = Counted(0, "count")
    outputs = [TensorInfo(name, (4, *rest), "float32", rows) for name, rest in (("boxes", (2,)), ("scores", ()))]
    boxes, scores = np.arange(6, dtype=np.float32).reshape(3, 2), np.float32([0.9, 0.5, 0.5])
    swapped = {"boxes": boxes[[0, 2, 1]], "scores": scores}
    expected = {"boxes": boxes, "scores": scores}
    np.testing.assert_array_equal(in_order(swapped, expected, outputs)["boxes"], boxes)
    others = {"boxes": boxes[[1, 0, 2]], "scores": scores[[1, 0, 2]]}  # scores tell these apart
    assert worst_error(in_order(others, expected, outputs), expected) > 0.1
    unsorted = {"boxes": boxes, "scores": scores[[1, 0, 2]]}
    assert in_order(swapped | {"scores": unsorted["scores"]}, unsorted, outputs)["boxes"][1, 0] == 4
    wrong = {"boxes": boxes + 1, "scores": scores}
    assert worst_error(in_order(wrong, expected, outputs), expected) > 0.1
    fewer = {"boxes": boxes[:2], "scores": scores[:2]}
    assert in_order(fewer, expected, outputs)["boxes"].shape == (2, 2)
