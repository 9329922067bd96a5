"""mAP: by hand, and equal to what pycocotools computes."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eq_tvm.tasks.average_precision import Truth, average_precision
from eq_tvm.tasks.boxes import Boxes


def truth(*corners, classes=None, crowd=None):
    count = len(corners)
    return Truth(
        np.reshape(corners, (-1, 4)).astype(float),
        np.array(classes or [0] * count, np.int64),
        np.array(crowd or [False] * count, bool),
    )


def found(*rows):
    """Of (corners, score) or (corners, score, class)."""
    corners = np.reshape([row[0] for row in rows], (-1, 4)).astype(float)
    return Boxes(corners, np.array([row[1] for row in rows], float), np.array([(*row, 0)[2] for row in rows], np.int64))


LEFT, RIGHT = [0, 0, 10, 10], [50, 0, 70, 20]


def test_by_hand():
    there = [truth(LEFT, RIGHT)]
    assert average_precision([found((LEFT, 0.9), (RIGHT, 0.8))], there) == {"map": 1.0, "map50": 1.0}
    assert average_precision([found()], there) == {"map": 0.0, "map50": 0.0}
    # one of two is found, behind a wrong one: precision 1/2 up to a recall of 1/2, which are 51 of 101
    wrong = found(([20, 20, 30, 30], 0.9), (LEFT, 0.8))
    assert average_precision([wrong], there)["map50"] == pytest.approx(51 / 101 / 2)
    # an overlap of 0.6 is one up to 0.60: three of ten
    loose = average_precision([found(([0, 0, 10, 6.001], 0.9))], [truth(LEFT)])
    assert loose["map50"] == 1 and loose["map"] == pytest.approx(0.3)
    assert average_precision([found((LEFT, 0.9))], [truth()]) == {"map": None, "map50": None}


def test_what_is_found_in_a_crowd_does_not_count():
    there = [truth(LEFT, [40, 0, 200, 200], crowd=[False, True])]
    boxes = found(([60, 60, 80, 80], 0.95), ([90, 60, 99, 80], 0.93), (LEFT, 0.9))
    assert average_precision([boxes], there)["map"] == 1


def test_classes_do_not_mix():
    there = [truth(LEFT, RIGHT, classes=[3, 7])]
    assert average_precision([found((LEFT, 0.9, 7), (RIGHT, 0.9, 7))], there)["map"] == pytest.approx(0.25)


def expected(boxes, there):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def of(corners):
        left, top, right, bottom = map(float, corners)
        return [left, top, right - left, bottom - top]

    annotations = [
        {"image_id": i + 1, "category_id": int(c), "bbox": of(b), "area": of(b)[2] * of(b)[3], "iscrowd": int(crowd)}
        for i, each in enumerate(there)
        for b, c, crowd in zip(each.corners, each.classes, each.crowd, strict=True)
    ]
    results = [
        {"image_id": i + 1, "category_id": int(c), "bbox": of(b), "score": float(s)}
        for i, each in enumerate(boxes)
        for b, c, s in zip(each.corners, each.classes, each.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i + 1} for i in range(len(there))],
            "categories": [{"id": i} for i in range(3)],
            "annotations": [{"id": i + 1} | each for i, each in enumerate(annotations)],
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[:2]


@st.composite
def scenes(draw):
    """Some images with boxes, and boxes that were found: some near, some wrong, some of equal scores."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    boxes, there = [], []
    for _ in range(draw(st.integers(1, 4))):
        count = int(random.integers(0, 9))
        corners = random.integers(0, 60, (count, 2))
        corners = np.concatenate([corners, corners + random.integers(5, 40, (count, 2))], axis=1).astype(float)
        classes, crowd = random.integers(0, 3, count), random.random(count) < draw(st.sampled_from([0, 0.2]))
        there.append(Truth(corners, classes, crowd))
        near = np.repeat(corners, random.integers(0, 3, count), axis=0)
        near[:, :2] += random.integers(-4, 5, (len(near), 2))
        more = random.integers(0, 60, (int(random.integers(0, 5)), 2))
        near = np.concatenate([near, np.concatenate([more, more + 20.0], axis=1)])
        scores = random.choice([0.1, 0.2, 0.5, 0.7, 0.9, *random.random(20)], len(near))
        boxes.append(Boxes(near, scores, random.integers(0, 3, len(near))))
    found = (boxes[0].corners, boxes[0].scores, boxes[0].classes)
    boxes[0] = Boxes(*(np.concatenate(pair) for pair in zip(found, ([LEFT], [0.3], [0]), strict=True)))
    return boxes, there


@given(scenes())
def test_equals_pycocotools(scene):
    ours = average_precision(*scene)
    theirs = expected(*scene)
    if ours["map"] is None:
        assert theirs[0] == -1
    else:
        np.testing.assert_allclose([ours["map"], ours["map50"]], theirs, rtol=0, atol=1e-12)


def test_more_than_a_hundred_boxes_of_an_image_do_not_count():
    random = np.random.default_rng(0)
    corners = np.concatenate([place := random.integers(0, 900, (150, 2)), place + 20], axis=1).astype(float)
    boxes = Boxes(corners, random.random(150), np.zeros(150, np.int64))
    there = Truth(corners, np.zeros(150, np.int64), np.zeros(150, bool))
    np.testing.assert_allclose(list(average_precision([boxes], [there]).values()), expected([boxes], [there]))
