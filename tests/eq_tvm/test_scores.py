"""How outputs are compared with labels and with a reference's."""

import numpy as np
import pytest

from eq_tvm.scores import Scores, _cosine, _decisions


def test_decisions():
    assert _decisions(np.array([[1.0, 3.0, 2.0]])).tolist() == [1]
    assert _decisions(np.array([1.0, 3.0]).reshape(1, 2, 1, 1)).tolist() == [1]
    assert _decisions(np.array([[[1.0, 3.0], [4.0, 2.0]]])).tolist() == [1, 0]


def test_cosine_of_zero_vectors():
    zero, one = np.zeros(3), np.ones(3)
    assert (_cosine(zero, zero), _cosine(zero, one)) == (1.0, 0.0)
    assert _cosine(one, 2 * one) == pytest.approx(1)


def test_what_is_not_known_is_none():
    scores = Scores()
    scores.add([np.array([[1.0, 3.0]])], None, None)
    assert scores.result() == {"top1": None, "agreement": None, "cosine": None, "n": 1}
    scores.add([np.array([[1.0, 3.0]])], 0, [np.array([[1.0, 2.0]])])
    assert (scores.top1, scores.agreement, scores.result()["n"]) == (0.0, 1.0, 2)
