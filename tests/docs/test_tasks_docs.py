"""What docs/using/tasks.md says works: its commands and its Python, on small networks of each task."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from blocks import blocks, commands, text_of
from onnx_models import random, write_classifier, write_model
from PIL import Image

from eq_tvm import cli
from eq_tvm.tasks.recognize import TASKS

PAGE = "docs/using/tasks.md"
COMMANDS = commands(PAGE)
BOX = [6, 35, 26, 45]  # what the detector finds in an input of 64 x 32, in each image


def write_detector():
    """As YOLOv8: (1, 4 + 3 classes, 42), the same for each image but for a trace of it."""
    said = np.zeros((7, 42), np.float32)
    said[:, 5] = [16, 40, 20, 10, 0.1, 0.1, 0.9]
    write_model(
        "detector.onnx",
        [("Conv", "data w b", "c", {"strides": [1, 1]}), ("Reshape", "c shape", "y", {})],
        {"data": [1, 3, 64, 32]},
        ["y"],
        {"w": random(294, 3, 64, 32) * 1e-7, "b": said.ravel(), "shape": np.array([1, 7, 42])},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with the files that the document speaks of."""
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TVM_NUM_THREADS", "1")
        write_detector()
        write_classifier("net.onnx", "data", [1, 3, 64, 32], 3, "y", strides=[8, 8])
        scores = [("Conv", "data w", "y", {"strides": [2, 2], "pads": [1, 1, 1, 1]})]
        write_model("mask.onnx", scores, {"data": [1, 3, 64, 32]}, ["y"], {"w": random(2, 3, 3, 3)})
        Path("net.yaml").write_text("{channels: RGB, mean: [128, 128, 128], std: [64, 64, 64], resize: [64, 32]}")
        pixels = np.random.default_rng(0).integers(0, 256, (4, 128, 96, 3), dtype=np.uint8)
        Path("images").mkdir()
        Path("masks").mkdir()
        for name, image in zip(["images/1.png", "cat.jpg", "dog.jpg", "street.jpg"], pixels, strict=True):
            Image.fromarray(image).save(name)
        Image.fromarray((pixels[0, :, :, 0] > 128).astype(np.uint8)).save("masks/1.png")
        Path("labelled.csv").write_text("file,label\nimages/1.png,2\n")
        Path("names.txt").write_text("cat\ndog\nbicycle\n")
        left, top, right, bottom = np.multiply(BOX, [3, 2, 3, 2]).tolist()
        instances = {
            "images": [{"id": 1, "file_name": "1.png"}],
            "annotations": [{"image_id": 1, "category_id": 9, "bbox": [left, top, right - left, bottom - top]}],
            "categories": [{"id": i, "name": name} for i, name in ((2, "cat"), (5, "dog"), (9, "bicycle"))],
        }
        Path("instances.json").write_text(json.dumps(instances))
        for name, schemes in (("net", ("int7", "int8")), ("detector", ("float32",)), ("mask", ("float32",))):
            for scheme in schemes:
                options = ["--preprocess", "net.yaml", "--scheme", scheme, "--output"]
                options += [f"{name}-native{'-int8' * (scheme == 'int8')}.eqtvm"]
                options += ["--calibration", "images"] * (scheme != "float32")
                options += ["--method", "minmax", "--no-verify"] if scheme != "float32" else ["--no-verify"]
                assert cli.main(["compile", f"{name}.onnx", *options]) == 0
    return folder


@pytest.fixture
def there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    return folder


def test_commands(there, capsys):
    assert len(COMMANDS) == 10
    capsys.readouterr()
    printed = {}
    for command in COMMANDS:
        arguments = shlex.split(command) + ["--seconds", "0.02"] * command.startswith("compare")
        assert cli.main(arguments) == 0, f"{command}\n{capsys.readouterr().err}"
        printed[command] = capsys.readouterr().out
    named, found, two, mask, _, marked, like_float, masked, side, peers = printed.values()
    assert re.search(r"cat\.jpg\n +\d  [-\d.]+  (cat|dog|bicycle)\n", named)
    assert re.search(r"street\.jpg\n +90%  bicycle +18 70 78 90\n  drawn: found\.png\n", found)
    assert "drawn: found-1.png" in two and "drawn: found-2.png" in two and "class 2" in two
    assert re.search(r" [01] +[\d.]+% of the image\n", mask)
    for text in (marked, like_float):
        assert re.search(r"^mAP +1\.0000$", text, re.M) and "agreement" not in text
    assert re.search(r"^mIoU +0\.\d+$", masked, re.M)
    assert re.search(r"^net-native\.eqtvm +eq_tvm int7 +\S+%", side, re.M) and "net-native-int8.eqtvm" in side
    assert re.search(r"^net\.onnx +onnxruntime ", peers, re.M)


def test_pictures(there):
    """Of the commands above: the box is drawn where it is in the image."""
    assert cli.main(shlex.split(COMMANDS[1])) == 0
    before, after = (np.asarray(Image.open(file).convert("RGB")).astype(int) for file in ("street.jpg", "found.png"))
    assert before.shape == after.shape
    rows, columns = np.nonzero(np.abs(before - after).sum(axis=2))
    assert columns.min() >= 18 and rows.max() == 90 and rows.min() < 70  # the name is above


def test_json(there, capsys):
    arguments = ["mask-native.eqtvm", "--data", "images", "--reference", "mask.onnx", "--json"]
    assert cli.main(["evaluate", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["miou"] == 1
    assert cli.main(["compare", "net-native.eqtvm", "--data", "labelled.csv", "--seconds", "0.02", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert list(row) == ["model", "engine", "top1", "top5", "agreement", "cosine", "n", "median_ms", "bytes"]


@pytest.mark.parametrize(
    "command, error",
    {
        "run net-native.eqtvm --input cat.jpg --labels imagenet": "the labels imagenet have 1000 names, but",
        "run net-native.eqtvm --input cat.jpg --labels none.txt": "no such file of labels: none.txt: pass a text file",
        "run net-native.eqtvm --input cat.jpg --task yolo": "--task yolo: the outputs have other shapes",
        "run net-native.eqtvm --input cat.jpg --draw a.txt": "--draw a.txt: its name must end with one of .png",
        "run net-native.eqtvm --input cat.jpg --draw cat.jpg": "--draw cat.jpg would replace an input",
        "run net-native.eqtvm --input cat.npy --draw a.png": "--draw draws on images, but cat.npy is none",
        "evaluate net-native.eqtvm --data images --annotations instances.json": "the network classifies",
        "evaluate mask-native.eqtvm --data images --annotations instances.json": "must be a directory of label",
        "evaluate detector-native.eqtvm --data cat.csv --annotations instances.json": "no image with",
        "evaluate mask-native.eqtvm --data cat.csv --annotations masks": "no label image for cat.jpg",
        "evaluate detector-native.eqtvm --data images --annotations net.yaml": "are not COCO's json",
        "evaluate detector-native.eqtvm --data images --annotations instances.json --labels coco": "coco have 80",
        "compare net-native.eqtvm --data images --against ncnn": "no such engine: ncnn; there are: ",
        "compare net-native.eqtvm --data images --against onnxruntime": "nothing to run: pass the ONNX file too",
        "compare none.eqtvm --data images": "no such bundle or ONNX file: none.eqtvm",
        "compare net-native.eqtvm --data images --seconds 0": "--seconds must be",
    }.items(),
)
def test_errors(there, capsys, command, error):
    Path("cat.csv").write_text("file\ncat.jpg\n")
    assert cli.main(shlex.split(command)) == (2 if error else 0)
    printed = capsys.readouterr().err
    assert error in printed and printed.count("error:") == bool(error)


def test_python(there, capsys):
    (block,) = blocks(PAGE, "python")
    exec(compile(block.text, PAGE, "exec"), {"__name__": "__main__"})
    assert "bicycle" in capsys.readouterr().out and Path("seen.png").is_file()


def test_all_tasks_are_listed():
    assert set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", text_of(PAGE), re.M)) == set(TASKS)
