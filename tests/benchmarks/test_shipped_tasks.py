"""Measures of what networks' results are good for, on results that one can check by hand."""

import numpy as np
import pytest
from detector_outputs import OUTPUTS

from eq_tvm.tasks.boxes import Boxes
from shipped import boxes
from shipped.package import Shipped
from shipped.tasks import TASKS, cosine


def network(task, **fields):
    return Shipped("p", "1.0", "m.onnx", {"x": [1, 3, 64, 32]}, {}, task=task, **fields)


def score(task, ours, theirs, **fields):
    result = TASKS[task](ours, theirs, network(task, **fields))
    return result.text, result.met


def test_cosine():
    assert cosine(np.array([1, 0]), np.array([[1], [1]])) == pytest.approx(0.5**0.5)
    assert cosine(np.zeros(3), np.zeros(3)) == 0


def test_text_is_that_of_ctc():
    def steps(*characters):
        return [np.eye(4)[[characters]]]  # (1, T, 4)

    equal = steps(1, 1, 0, 1, 2), steps(0, 1, 0, 1, 2)  # 1, 1, 2 both
    assert score("text", *equal) == ("100.0 % of 1 lines", True)
    assert score("text", steps(1, 1, 2), steps(1, 0, 1, 2)[0:1]) == ("0.0 % of 1 lines", False)


def test_mask():
    a, b = np.zeros((2, 1, 10, 10)), np.zeros((2, 1, 10, 10))
    a[0, 0, :5], b[0, 0, :4] = 0.9, 0.6
    assert score("mask", [a], [b], above=0.5) == ("IoU 80.0 %", False)
    assert score("mask", [b * 0], [b * 0], above=0.5) == ("IoU 100.0 %", True)


def test_shares():
    a, b = np.array([[[0.1, 0.9]], [[0.8, 0.2]]]), np.array([[[0.4, 0.6]], [[0.3, 0.7]]])
    assert score("class", [a], [b]) == ("50.0 % of 2 classes", False)
    assert score("decisions", [a], [b], above=0.5) == ("50.0 % of 4 decisions", False)
    assert score("decisions", [0, a], [0, a], above=0.5, part=1) == ("100.0 % of 4 decisions", True)


def test_keypoints_are_all_x_then_all_y():
    theirs = np.zeros((1, 1, 4))
    ours = theirs + np.array([0.03, 0, 0.04, 0])  # the first is off by 3 and 4 pixels of 100
    assert score("keypoints", [ours], [theirs], pixels=100) == ("2.50 pixels of 100", False)
    assert score("keypoints", [ours / 5], [theirs], pixels=100)[1]


def test_image_and_marks():
    theirs = np.full((1, 1, 3, 8, 8), 0.5)
    assert score("image", [theirs + 0.1], [theirs]) == ("PSNR 20.0 dB", False)
    assert score("image", [theirs + 0.001], [theirs]) == ("PSNR 60.0 dB", True)
    assert score("marks", [theirs + 0.1], [theirs]) == ("0.100 of 1 to 5", False)


def test_pitch_counts_where_one_has_any():
    hertz, sure = np.array([[[100.0, 100, 100, 100]]]), np.array([[[0.9, 0.9, 0.1, 0.9]]])
    ours = [hertz * [1, 1.02, 2, 1.1], sure * [1, 1, 1, 0.1]]  # the same, a third of a semitone, unvoiced, lost
    text, met = score("pitch", ours, [hertz, sure])
    assert text == "66.7 % of 3 frames" and not met


@pytest.mark.parametrize("name", ["yolo", "yolox", "picodet", "centerface"])
def test_boxes(name):
    outputs = OUTPUTS[name]()
    stacked = [output[None] for output in outputs]
    assert score(f"boxes of {name}", stacked, stacked, above=0.5) == ("100.0 % of 1, 0.0 % others", True)
    none = [output[None] * 0 for output in outputs]
    assert score(f"boxes of {name}", none, stacked, above=0.5) == ("0.0 % of 1, 0.0 % others", False)
    assert score(f"boxes of {name}", stacked, none, above=0.5) == ("none expected, 1 found", False)


def test_pairs_are_of_one_class_and_each_box_is_in_one():
    ours = Boxes(np.float32([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]), np.ones(3), np.array([0, 0, 1]))
    theirs = Boxes(np.float32([[0, 0, 10, 10], [50, 50, 60, 60]]), np.ones(2), np.array([0, 0]))
    assert boxes.pairs(ours, theirs) == 1 and boxes.pairs(theirs, theirs) == 2
    assert boxes.pairs(Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0)), theirs) == 0
