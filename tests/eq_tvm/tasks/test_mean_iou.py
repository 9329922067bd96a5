"""Masks, and how well they overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from eq_tvm.errors import UserError
from eq_tvm.preprocess import Placement
from eq_tvm.tasks.masks import mask, on_image
from eq_tvm.tasks.mean_iou import MeanIoU

CLASSES = arrays.arrays(np.int64, (4, 5), elements=st.integers(0, 6))


def test_by_hand():
    judge = MeanIoU()
    assert judge.result() is None
    judge.add(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 255]]))
    assert judge.result() == pytest.approx((1 / 2 + 1 / 2) / 2)
    judge.add(np.array([[7]]), np.array([[0]]))  # a class that is never there
    assert judge.result() == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    with pytest.raises(UserError, match=r"a\.png is \(1, 1\), but the network's mask \(2, 2\)"):
        judge.add(np.zeros((2, 2)), np.zeros((1, 1)), "a.png")


@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=3))
def test_is_the_mean_over_classes_of_all_pixels(pairs):
    judge = MeanIoU()
    for pair in pairs:
        judge.add(*pair)
    found, truth = (np.concatenate(each) for each in zip(*pairs, strict=True))
    ratios = [
        np.sum((found == c) & (truth == c)) / np.sum((found == c) | (truth == c)) for c in np.union1d(found, truth)
    ]
    assert judge.result() == pytest.approx(np.mean(ratios))


def test_masks():
    scores = np.zeros((1, 3, 2, 2), np.float32)
    scores[0, 2, 1, 0] = 1
    assert mask(scores).tolist() == [[0, 0], [2, 0]]
    assert mask(np.float32([[[[0.4, 0.6]]]])).tolist() == [[0, 1]]  # probabilities
    assert mask(np.float32([[[[-4, 0.1]]]])).tolist() == [[0, 1]]  # logits
    assert mask(np.array([[[3, 0]]])).tolist() == [[3, 0]]
    assert mask(np.array([[[[True, False]]]])).tolist() == [[1, 0]]


def test_on_the_image_the_nearest():
    classes = np.array([[1, 300]])
    assert on_image(classes, Placement((2, 4), (1, 2), (1, 2)), -1).tolist() == [[1, 1, 300, 300]] * 2
    assert on_image(classes, Placement((1, 4), (1, 4), (1, 2), (0, -1)), -1).tolist() == [[-1, 1, 300, -1]]
    assert on_image(classes, Placement((1, 2), (1, 2), (1, 8), (0, 3)), -1).tolist() == [[1, 300]]
