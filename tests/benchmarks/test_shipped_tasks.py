"""Measures of what networks' results are good for, on results that one can check by hand."""

import numpy as np
import pytest

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


# One box of 20 x 10 pixels around (16, 40), of class 1 of 2, as each kind of network says it of a 64 x 32 image.
BOX = [6, 35, 26, 45]


def _yolo():
    return [np.array([[[16.0, 5], [40, 5], [20, 2], [10, 2]]]), np.array([[[0.1, 0], [0.9, 0]]])]


def _yolox():
    result = np.zeros((1, 8 * 4 + 4 * 2 + 2, 7))
    result[0, 4 * 4 + 1] = [16 / 8 - 1, 40 / 8 - 4, np.log(20 / 8), np.log(10 / 8), 1, 0.1, 0.9]  # row 4, column 1
    return [result]


def _picodet():
    sizes = [8 * 4, 4 * 2, 2, 1]
    scores, odds = [np.zeros((1, size, 2)) for size in sizes], [np.zeros((1, size, 4 * 4)) for size in sizes]
    odds[0] -= 50
    scores[0][0, 5 * 4 + 1] = [0.1, 0.9]  # around (12, 44), so 6, 9, 14 and 1 to the sides: parts of 8
    for side, away in enumerate((6, 9, 14, 1)):
        low = away // 8
        odds[0][0, 5 * 4 + 1, 4 * side + low : 4 * side + low + 2] = np.log([1 - away / 8 % 1, away / 8 % 1])
    return scores + odds


def _centerface():
    heat, size, offset = np.zeros((1, 1, 16, 8)), np.zeros((1, 2, 16, 8)), np.zeros((1, 2, 16, 8))
    heat[0, 0, 9, 3] = 0.9  # of row 9 and column 3: around (14, 38)
    size[0, :, 9, 3], offset[0, :, 9, 3] = np.log([10 / 4, 20 / 4]), [2 / 4, 2 / 4]
    return [heat, size, offset, np.zeros((1, 10, 16, 8))]


@pytest.mark.parametrize(
    "name, outputs", {"yolo": _yolo, "yolox": _yolox, "picodet": _picodet, "centerface": _centerface}.items()
)
def test_decoders(name, outputs):
    result = boxes.found(boxes.DECODERS[name](outputs(), (64, 32)), 0.5)
    np.testing.assert_allclose(result.corners, [BOX], atol=1e-4)
    assert result.classes.tolist() == [0 if name == "centerface" else 1]
    stacked = [output[None] for output in outputs()]
    assert score(f"boxes of {name}", stacked, stacked, above=0.5) == ("100.0 % of 1, 0.0 % others", True)
    none = [output[None] * 0 for output in outputs()]
    assert score(f"boxes of {name}", none, stacked, above=0.5) == ("0.0 % of 1, 0.0 % others", False)
    assert score(f"boxes of {name}", stacked, none, above=0.5) == ("none expected, 1 found", False)


def test_boxes_of_one_class_that_cover_a_better_one_are_left_out():
    corners = np.float32([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9.5], [50, 50, 60, 60]])
    scores = np.float32([[0.9, 0], [0.8, 0], [0, 0.7], [0.1, 0.3]])
    result = boxes.found((corners, scores), 0.5)
    assert result.classes.tolist() == [0, 1] and result.corners[:, 3].tolist() == [10, 9.5]


def test_pairs_are_of_one_class_and_each_box_is_in_one():
    ours = boxes.Boxes(np.float32([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]), np.array([0, 0, 1]))
    theirs = boxes.Boxes(np.float32([[0, 0, 10, 10], [50, 50, 60, 60]]), np.array([0, 0]))
    assert boxes.pairs(ours, theirs) == 1 and boxes.pairs(theirs, theirs) == 2
    assert boxes.pairs(boxes.Boxes(np.zeros((0, 4)), np.zeros(0)), theirs) == 0
