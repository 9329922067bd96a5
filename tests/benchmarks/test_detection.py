"""Faces found by a detector, compared with those that another one finds."""

import numpy as np
import pytest

from eq_tvm import data
from eq_tvm.preprocess import Preprocess
from eq_tvm.running.float_network import load_float
from eq_tvm.tasks.boxes import Boxes
from peers import detection


def faces(*found):
    corners = np.float32([box for box, _ in found]).reshape(-1, 4)
    return Boxes(corners, np.float32([score for _, score in found]), np.zeros(len(found), np.int64))


LEFT, RIGHT = [0, 0, 10, 10], [100, 0, 120, 20]


def test_pairs_overlap_by_half_and_each_face_has_one():
    expected = [faces((LEFT, 0.9), (RIGHT, 0.8)), faces()]
    assert detection.compare(expected, expected) == {
        "recall": 1,
        "precision": 1,
        "score_difference": 0,
        "faces": 2,
        "n": 2,
    }
    # one a little off, one twice there, one where there is none
    found = [faces(([1, 0, 11, 10], 0.8), ([0, 0, 10, 9], 0.9)), faces((LEFT, 0.75))]
    result = detection.compare(found, expected)
    assert (result["recall"], result["precision"]) == (1 / 2, 1 / 3)
    assert result["score_difference"] == pytest.approx(0)  # of the pair that overlaps more
    far = [faces(([6, 0, 16, 10], 0.9)), faces()]
    assert detection.compare(far, expected)["recall"] == 0


def test_detector_finds_faces_in_photos(shared_data):
    model = shared_data.models["ultraface_rfb_320"]
    runner, preprocess = load_float(model), Preprocess.read(model.with_suffix(".preprocess.yaml"))
    images = data.read(shared_data.path / "faces" / "eval_files.csv")
    anchors, found = 0, []
    for i in range(len(images)):
        scores, boxes = runner.run({"input": images.input(i, (1, 3, 240, 320), preprocess)}).values()
        anchors += np.count_nonzero(scores[0, :, 1] > detection.LEAST_SCORE)
        found.append(detection.detect(scores[0], boxes[0]))
    assert anchors == 694  # as the manifest says
    assert [len(f.scores) for f in found[:2]] == [4, 1]  # and so many people, the first four from left to right:
    centers = np.sort((found[0].corners[:, 0] + found[0].corners[:, 2]) / 2)
    np.testing.assert_allclose(centers, [54, 111, 189, 240], atol=4)
    for f in found:
        mutual = detection.overlaps(f.corners, f.corners)
        assert (mutual[~np.eye(len(mutual), dtype=bool)] <= detection.SUPPRESSED).all()
