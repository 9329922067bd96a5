"""How outputs are compared with labels and with a reference's."""

import numpy as np
import pytest

from eq_tvm.errors import UserError
from eq_tvm.scores import Scores, _cosine, _decisions


def test_decisions():
    assert _decisions(np.array([[1.0, 3.0, 2.0]])).tolist() == [1]
    assert _decisions(np.array([1.0, 3.0]).reshape(1, 2, 1, 1)).tolist() == [1]
    assert _decisions(np.array([[[1.0, 3.0], [4.0, 2.0]]])).tolist() == [1, 0]


def test_decisions_of_other_outputs():
    assert _decisions(np.array([7])).tolist() == [7]  # of ArgMax
    assert _decisions(np.array([[True, False]])).tolist() == [True, False]
    assert _decisions(np.array([[3, 200, 90]], np.uint8)).tolist() == [1]  # quantized scores
    assert _decisions(np.array([[0.5]])).size == 0 == _decisions(np.float32(0.5)).size


def test_a_batch_of_images():
    outputs, expected = np.array([[1.0, 3.0], [4.0, 2.0], [5.0, 6.0]]), np.array([[3.0, 1.0], [4.0, 2.0], [5.0, 6.0]])
    scores = Scores()
    scores.add([outputs], np.array([1, 0, 0]), [expected], images=3)
    assert scores.top1 == scores.agreement == pytest.approx(2 / 3) and scores.result()["n"] == 3
    scores.add([outputs[:, :1]], np.array([1, 0, 0]), [expected[:, :1]], images=3)  # one number of each image
    assert scores.top1 == pytest.approx(2 / 3)


def test_a_label_that_is_no_class():
    scores, output = Scores(), np.array([[1.0, 3.0], [4.0, 2.0]])
    with pytest.raises(UserError, match="an image has the label 2, but the network has the classes 0 to 1"):
        scores.add([output], np.array([1, 2]), None, images=2)
    scores.add([np.array([7])], 900, None)  # of ArgMax, which does not say how many there are
    assert scores.top1 == 0


def test_the_five_highest():
    scores, output = Scores(), np.array([[9.0, 8, 7, 6, 5, 4], [1.0, 2, 3, 4, 5, 6], [0.0] * 6])
    scores.add([output], np.array([4, 0, 4]), None, images=3)  # of equal ones the first
    assert scores.top5 == pytest.approx(2 / 3)
    few = Scores()
    few.add([output[:1, :5]], 4, None)
    assert (few.top1, few.top5) == (0, None)


def test_cosine_of_zero_vectors():
    zero, one = np.zeros(3), np.ones(3)
    assert (_cosine(zero, zero), _cosine(zero, one)) == (1.0, 0.0)
    assert _cosine(one, 2 * one) == pytest.approx(1)


def test_what_is_not_known_is_none():
    scores = Scores()
    scores.add([np.array([[1.0, 3.0]])], None, None)
    assert scores.result() == {"top1": None, "top5": None, "agreement": None, "cosine": None, "n": 1}
    scores.add([np.array([[1.0, 3.0]])], 0, [np.array([[1.0, 2.0]])])
    assert (scores.top1, scores.agreement, scores.result()["n"]) == (0.0, 1.0, 2)
