"""One box, as each kind of detector says it, is found where it is."""

import numpy as np
import pytest
from detector_outputs import BOX, OUTPUTS

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.tasks.boxes import Boxes, best, overlaps
from eq_tvm.tasks.decoders import DECODERS, ssd
from eq_tvm.tasks.priors import priors
from eq_tvm.tasks.recognize import TASKS, recognize, task_of

SIZE = (64, 32)


def infos(*shapes, dtype="float32"):
    return [TensorInfo(f"output{i}", shape, dtype) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("name", OUTPUTS)
def test_decoders(name):
    result = best(DECODERS[name.split()[0]](OUTPUTS[name](), SIZE), 0.5)
    np.testing.assert_allclose(result.corners, [BOX], atol=1e-4)
    assert result.classes.tolist() == [0 if name == "centerface" else 1]
    assert result.scores == pytest.approx({"yolo of v5": 0.855, "ssd": 0.8}.get(name, 0.9))


@pytest.mark.parametrize("name", OUTPUTS)
def test_recognized(name):
    outputs = OUTPUTS[name]()
    found = recognize([TensorInfo("", output.shape, str(output.dtype)) for output in outputs], SIZE)
    assert found == (None if name == "yolo" else name.split()[0])  # two boxes are not 42


@pytest.mark.parametrize(
    "shapes, task",
    [
        ([(1, 84, 8400)], "yolo"),
        ([(1, 25200, 85)], "yolo"),
        ([(1, 116, 8400), (1, 32, 160, 160)], "yolo"),
        ([(1, 4, 8400), (1, 80, 8400)], "yolo"),
        ([(1, 8400, 85)], "yolox"),
        ([(1, 1917, 91), (1, 1917, 4)], "ssd"),
        ([(1, 1, 160, 160), (1, 2, 160, 160), (1, 2, 160, 160), (1, 10, 160, 160)], "centerface"),
        ([(1, 21, 640, 640)], "segment"),
        ([(1, 19, 80, 80), (1, 19, 80, 80)], "segment"),
        ([(1, 2, 640, 640)], "segment"),
        ([(1, 3, 640, 640)], None),  # could be an image
        ([(1, 1, 640, 640)], None),
        ([(1, 2048, 20, 20)], None),  # features
        ([(1, 1000)], "classify"),
        ([(1, 1000, 1, 1)], "classify"),
        ([(1, 1000), (1, 1000)], None),
        ([(1, 1)], None),
        ([(1, 100, 84)], None),
        ([()], None),
    ],
)
def test_recognized_by_shapes(shapes, task):
    assert recognize(infos(*shapes), (640, 640)) == task


def test_recognized_by_integers():
    assert recognize(infos((1, 640, 640), dtype="int64"), (640, 640)) == "segment"
    torchvision = [*infos((7, 4)), *infos((7,), dtype="int64"), *infos((7,))]
    assert recognize(torchvision, (640, 640)) == "boxes"
    assert recognize(torchvision[:2], (640, 640)) is None


def test_no_image():
    assert recognize(infos((1, 10)), None) == "classify"
    assert recognize(infos((1, 84, 8400)), None) is None
    with pytest.raises(UserError, match="--task yolo: the network takes no images"):
        task_of(infos((1, 84, 8400)), None, "yolo")


def test_named_tasks():
    assert task_of(infos((1, 84, 100)), SIZE, "yolo") == "yolo"  # though not as many as its maps have cells
    assert task_of(infos((1, 3, 64, 32)), SIZE, "segment") == "segment"
    with pytest.raises(
        UserError, match=r"do not say what the network is for \(output0 \(1, 3, 64, 32\)\): pass --task"
    ):
        task_of(infos((1, 3, 64, 32)), SIZE, None)
    with pytest.raises(UserError, match=r"--task must be one of yolo, yolox, .*, not Yolo"):
        task_of(infos((1, 10)), SIZE, "Yolo")
    for task in TASKS:
        if task != "classify":
            with pytest.raises(UserError, match=f"--task {task}: the outputs have other shapes"):
                task_of(infos((1, 10)), SIZE, task)


def test_priors_that_are_not_known():
    boxes = np.zeros((1, 20, 4))
    boxes[..., 0] = 1
    with pytest.raises(UserError, match="20 boxes are relative to priors that eq_tvm does not know"):
        ssd([np.zeros((1, 20, 2)), boxes], SIZE)
    assert len(priors((240, 320))) == 4420


def test_overlap_is_intersection_over_union():
    boxes = np.float32([[0, 0, 10, 10], [100, 0, 120, 20]])
    others = np.float32([[5, 0, 15, 10], [0, 0, 10, 10]])
    np.testing.assert_allclose(overlaps(boxes, others), [[1 / 3, 1], [0, 0]])
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]


def test_boxes_of_one_class_that_cover_a_better_one_are_left_out():
    corners = np.float32([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9.5], [50, 50, 60, 60], [np.nan, 0, 9, 9]])
    candidates = Boxes(corners, np.float32([0.9, 0.8, 0.7, 0.3, 0.9]), np.array([0, 0, 1, 1, 1]))
    result = best(candidates, 0.5)
    assert result.classes.tolist() == [0, 1] and result.corners[:, 3].tolist() == [10, 9.5]
    assert len(best(candidates, 0.5, suppressed=1)) == 3
    assert len(best(candidates, 0.95)) == 0 and best(candidates, 0.95).corners.shape == (0, 4)
