"""Names of classes."""

import pytest

from eq_tvm.errors import UserError, counted
from eq_tvm.tasks.labels import COCO_IDS, by_category, check_count, in_order, of_boxes, read_labels


def test_built_in_lists():
    imagenet, coco = read_labels("imagenet"), read_labels("coco")
    assert (len(imagenet), len(coco)) == (1000, 80)
    assert (imagenet[0], imagenet[207], imagenet[999]) == ("tench", "golden retriever", "toilet tissue")
    assert (coco[0], coco[16], coco[79]) == ("person", "dog", "toothbrush")
    assert len(set(coco)) == 80 and all(name == name.strip() and name for name in (*imagenet, *coco))


def test_the_order_is_that_of_the_data(shared_data):
    rows = (shared_data.path / "imagenet" / "classes.tsv").read_text(encoding="utf-8").splitlines()
    assert [row.split("\t")[2].replace("_", " ") for row in rows] == list(read_labels("imagenet"))


def test_files(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\r\n dog\r\nÄffchen\r\n\r\n".encode())
    assert read_labels(path) == ("cat", "dog", "Äffchen")
    path.write_text("cat\n\ndog\n")
    assert read_labels(path) == ("cat", "", "dog")  # places stay
    for content, message in ((b"\n\n", "are empty"), (b"\xff\xfe\x00", "are no text in UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"names\.txt {message}"):
            read_labels(path)
    with pytest.raises(UserError, match=r"no such file of labels: .*none: pass a text file"):
        read_labels(tmp_path / "none")


def test_background():
    assert in_order(["cat", "dog"], 3) == ("background", "cat", "dog") and in_order(["cat"], 1) == ("cat",)
    check_count(["cat", "dog"], 3, "names.txt")
    with pytest.raises(UserError, match=r"names\.txt have 2 names, but the network has 10 classes"):
        check_count(["cat", "dog"], 10, "names.txt")


def test_categories():
    coco = by_category(read_labels("coco"))
    assert (coco[1], coco[13], coco[18], coco[90]) == ("person", "stop sign", "dog", "toothbrush")
    assert len(COCO_IDS) == 80 and 12 not in coco
    assert by_category(["face"]) == {1: "face"}


def test_of_boxes():
    coco = read_labels("coco")
    assert of_boxes(["cat", "dog"], 2, "names.txt") == {0: "cat", 1: "dog"}
    assert of_boxes(["__background__", "cat"], 1, "names.txt") == {0: "cat"}
    assert of_boxes(coco, None, "coco")[90] == "toothbrush" and of_boxes(coco, 80, "coco")[79] == "toothbrush"
    assert of_boxes(coco, 90, "coco")[89] == "toothbrush"  # with the 10 numbers that COCO never used
    for names, classes in [(coco, 1), (["cat", "dog", "bird"], 1), (["cat"], 80), (["cat", "dog"], 1)]:
        with pytest.raises(
            UserError, match=f"have {counted(len(names), 'name')}, .* has {counted(classes, 'class', 'classes')}:"
        ):
            of_boxes(names, classes, "names.txt")
