"""Questions of each kind, with what one process says to them."""

import numpy as np
import pytest
from onnx_models import random, write_model
from PIL import Image

from eq_tvm.evaluate import evaluate

IMAGES = np.random.default_rng(2).integers(0, 256, (23, 6, 4, 3), dtype=np.uint8)


@pytest.fixture
def classified(tiny, tiny_onnx, tmp_path):
    """A bundle, its float reference, and labelled images."""
    labels = np.maximum(100.0 - IMAGES, 0).mean((1, 2)).argmax(1)
    labels[::5] = (labels[::5] + 1) % 3
    np.savez(tmp_path / "images.npz", images=IMAGES, labels=labels)
    return {"model": tiny.path, "data": tmp_path / "images.npz", "reference": tiny_onnx}


@pytest.fixture
def detected(tmp_path):
    """A network whose outputs are boxes, beside another, some of whose boxes are the same."""
    weight = np.abs(random(6, 3, 1, 1)) / 100
    for name, changed in (("net", weight), ("float", weight * (1 + 0.1 * random(6, 3, 1, 1, seed=1)))):
        write_model(
            tmp_path / f"{name}.onnx",
            [("Conv", "x w", "c", {}), ("Reshape", "c shape", "y", {})],
            {"x": [1, 3, 8, 8]},
            ["y"],
            {"w": changed.astype(np.float32), "shape": np.array([1, 6, 64])},
        )
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(3).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    return {
        "model": tmp_path / "net.onnx",
        "data": tmp_path / "images",
        "task": "yolo",
        "reference": tmp_path / "float.onnx",
    }


@pytest.fixture
def segmented(tmp_path):
    """A network that segments, beside another that is its reference."""
    for name, seed in (("net", 0), ("float", 1)):
        write_model(
            tmp_path / f"{name}.onnx",
            [("Conv", "x w", "y", {})],
            {"x": [1, 3, 8, 8]},
            ["y"],
            {"w": random(4, 3, 1, 1) + 0.3 * random(4, 3, 1, 1, seed=seed)},
        )
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(3).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8))
    return {
        "model": tmp_path / "net.onnx",
        "data": tmp_path / "images.npz",
        "reference": tmp_path / "float.onnx",
        "task": "segment",
    }


@pytest.fixture
def annotated(segmented, tmp_path):
    """The same, with what is really in the images."""
    for folder in ("seen", "labels"):
        (tmp_path / folder).mkdir()
    generator = np.random.default_rng(4)
    for number, image in enumerate(np.load(segmented["data"])["images"]):
        Image.fromarray(image).save(tmp_path / "seen" / f"{number}.png")
        classes = generator.integers(0, 4, (8, 8), dtype=np.uint8)
        Image.fromarray(classes).save(tmp_path / "labels" / f"{number}.png")
    return segmented | {"data": tmp_path / "seen", "annotations": tmp_path / "labels"}


@pytest.fixture(params=["classified", "detected", "segmented", "annotated"])
def question(request):
    """Keywords of `evaluate`, and what it returns in one process."""
    asked = request.getfixturevalue(request.param)
    expected = evaluate(**asked)
    assert all(
        value is None or value not in (0, 1) for name, value in expected.items() if name not in ("n", "agreement")
    )
    return asked, expected
