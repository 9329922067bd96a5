"""Boxes and label images as people have marked them."""

import json

import numpy as np
import pytest
from PIL import Image

from eq_tvm.errors import UserError
from eq_tvm.tasks.annotations import read_annotations, read_label_image

GOOD = {
    "images": [{"id": 7, "file_name": "val/a.png"}, {"id": 8, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
}


def read(folder, content):
    (folder / "i.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_annotations(folder / "i.json")


def test_boxes(tmp_path):
    annotations = read(tmp_path, GOOD)
    truth = annotations.of("/data/coco/val/a.png", (10, 10))
    assert truth.corners.tolist() == [[1, 2, 11, 22], [0, 0, 5, 5]]
    assert truth.classes.tolist() == [3, 1] and truth.crowd.tolist() == [False, True]
    assert annotations.of("b.png", (10, 10)).corners.shape == (0, 4)
    assert list(annotations.categories.items()) == [(1, "dog"), (3, "cat")]
    with pytest.raises(UserError, match=r"i\.json has no image with the file_name c\.png"):
        annotations.of("val/c.png", (10, 10))
    with pytest.raises(UserError, match="no such file of annotations"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "are not COCO's json"),
        ([], r"are not COCO's json .*: it is no object"),
        ({"images": []}, "it lacks 'categories'"),
        (GOOD | {"annotations": [{"image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]}]}, "the category 2, which is"),
        (GOOD | {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 1]}]}, "are not COCO's json"),
        (
            GOOD | {"annotations": [{"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]}]},
            "of the image 9, which is not among",
        ),
    ],
)
def test_other_files(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)


def test_label_images(tmp_path):
    classes = np.array([[0, 3], [255, 1]], np.uint8)
    Image.fromarray(classes).save(tmp_path / "a.png")
    assert read_label_image(tmp_path, "images/a.jpg").tolist() == classes.tolist()
    Image.fromarray(classes).convert("P").save(tmp_path / "p.png")
    assert read_label_image(tmp_path, "p.jpg").tolist() == classes.tolist()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "c.png")
    (tmp_path / "bad.png").write_text("no image")
    for name, message in (("c", "has colours"), ("bad", "can't read the label image"), ("none", "no label image for")):
        with pytest.raises(UserError, match=message):
            read_label_image(tmp_path, f"{name}.jpg")
