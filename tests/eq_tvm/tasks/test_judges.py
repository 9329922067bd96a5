"""How boxes and masks are judged: whose classes are whose, and in which image's pixels."""

import json

import numpy as np
import pytest
from detector_outputs import BOX, OUTPUTS
from PIL import Image

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Placement
from eq_tvm.tasks.judges import judge_for

SIZE = (64, 32)
WHOLE = Placement(SIZE, SIZE, SIZE)


def judge(outputs, size=SIZE, task=None, annotations=None, labels=None, has_reference=False):
    infos = [TensorInfo(f"y{i}", output.shape, str(output.dtype)) for i, output in enumerate(outputs)]
    return judge_for(infos, size, task=task, annotations=annotations, labels=labels, has_reference=has_reference)


def write(path, category, names, scale=1):
    """Annotations of one image with that box."""
    left, top, right, bottom = (x * scale for x in BOX)
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "category_id": category, "bbox": [left, top, right - left, bottom - top]}],
        "categories": [{"id": number, "name": name} for number, name in names.items()],
    }
    path.write_text(json.dumps(content))
    return path


def result(outputs, path, size=SIZE, placed=None, **options):
    judging = judge(outputs, annotations=path, **options)
    judging.add("folder/a.png", placed or Placement(size, SIZE, SIZE), outputs, None)
    return judging.result()["map"]


def test_classes_are_categories_in_the_order_of_their_ids(tmp_path):
    yolo = OUTPUTS["yolo of v8"]()  # finds class 1
    assert result(yolo, write(tmp_path / "i.json", 9, {9: "cat", 4: "dog"})) == 1
    assert result(yolo, write(tmp_path / "i.json", 4, {9: "cat", 4: "dog"})) == 0
    with pytest.raises(UserError, match=r"the network has 2 classes, but .* has 1 category: pass .* --labels"):
        result(yolo, write(tmp_path / "i.json", 9, {9: "cat"}))


def test_those_of_networks_that_end_in_boxes_are_ids(tmp_path):
    outputs = OUTPUTS["boxes"]()
    outputs[1] += 4  # finds class 5, and 4 where there is nothing
    assert result(outputs, write(tmp_path / "i.json", 5, {4: "dog", 5: "cat"})) == 1


def test_names_say_which_classes_are_which(tmp_path):
    (tmp_path / "names.txt").write_text("Dog\ncat\n")
    yolo = OUTPUTS["yolo of v8"]()
    path = write(tmp_path / "i.json", 3, {3: "cat"})  # it lacks dogs
    assert result(yolo, path, labels=tmp_path / "names.txt") == 1
    path = write(tmp_path / "i.json", 3, {3: "bird"})
    with pytest.raises(UserError, match=r"has the category 'bird', which is not among the labels .*names\.txt"):
        result(yolo, path, labels=tmp_path / "names.txt")
    path = write(tmp_path / "i.json", 18, {18: "dog", 1: "person"})
    outputs = OUTPUTS["boxes"]()
    outputs[1] += 17  # 18, as COCO counts, and torchvision's networks
    assert result(outputs, path, labels="coco") == 1


def test_boxes_are_scaled_to_the_image(tmp_path):
    path = write(tmp_path / "i.json", 1, {0: "cat", 1: "dog"}, scale=2)
    assert result(OUTPUTS["ssd"](), path, size=(128, 64)) == 1
    assert result(OUTPUTS["ssd"](), path, size=SIZE) == 0


def test_boxes_are_moved_as_the_image_was(tmp_path):
    barred = Placement((64, 16), (64, 16), SIZE, (0, 8))  # an image with bars left and right
    left, top, right, bottom = BOX
    path = write(tmp_path / "i.json", 1, {0: "cat", 1: "dog"})
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [left - 8, top, right - left, bottom - top]
    path.write_text(json.dumps(content))
    assert result(OUTPUTS["ssd"](), path, placed=barred) == 1
    assert result(OUTPUTS["ssd"](), path) < 1


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name != "yolo"])
def test_against_the_float_network(name):
    outputs = OUTPUTS[name]()
    judging = judge(outputs, has_reference=True)
    judging.add("", WHOLE, outputs, outputs)
    assert judging.result() == {"map": 1, "map50": 1}
    none = [np.zeros_like(output) for output in outputs]
    judging.add("", WHOLE, none, outputs)
    assert judging.result()["map"] < 1


def test_masks(tmp_path):
    scores = np.zeros((1, 2, 64, 32), np.float32)
    scores[0, 1, :32] = scores[0, 0, 32:] = 1
    Image.fromarray(np.repeat(np.uint8([[1, 0]]), [64, 64], axis=1).T.repeat(64, axis=1)).save(tmp_path / "a.png")
    judging = judge([scores], annotations=tmp_path)  # of twice the size
    judging.add("x/a.jpg", Placement((128, 64), SIZE, SIZE), [scores], None)
    assert judging.result() == {"miou": 1}
    judging = judge([scores], has_reference=True)
    judging.add("", WHOLE, [scores], [scores[:, ::-1]])
    assert judging.result() == {"miou": 0}


def test_what_a_crop_cuts_off_does_not_count(tmp_path):
    scores = np.zeros((1, 2, 64, 32), np.float32)
    scores[0, 1] = 1
    truth = np.zeros((64, 48), np.uint8)
    truth[:, 8:40] = 1
    Image.fromarray(truth).save(tmp_path / "a.png")
    judging = judge([scores], annotations=tmp_path)
    judging.add("a.jpg", Placement((64, 48), (64, 48), SIZE, (0, -8)), [scores], None)
    assert judging.result() == {"miou": 1}


def test_nothing_to_judge():
    assert judge([np.zeros((1, 10))], has_reference=True) is None
    assert judge([np.zeros((1, 3, 64, 32))], has_reference=True) is None  # perhaps an image
    assert judge(OUTPUTS["ssd"]()) is None
    with pytest.raises(UserError, match="other shapes"):
        judge(OUTPUTS["ssd"](), task="segment")
