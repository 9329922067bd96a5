"""Accuracy, and closeness to the float reference."""

import sys

import numpy as np
import pytest
from onnx_models import random, write_model
from PIL import Image

import eq_tvm
from eq_tvm.errors import UserError
from eq_tvm.evaluate import evaluate
from eq_tvm.running.float_network import float_engine

IMAGES = np.random.default_rng(2).integers(0, 256, (9, 6, 4, 3), dtype=np.uint8)


@pytest.fixture
def labelled(tmp_path):
    scores = np.maximum(100.0 - IMAGES, 0).mean((1, 2))
    labels = scores.argmax(1)
    labels[0] = (labels[0] + 1) % 3
    np.savez(tmp_path / "d.npz", images=IMAGES, labels=labels)
    return tmp_path / "d.npz"


def test_bundle_against_its_reference(tiny, tiny_onnx, labelled):
    done = []
    result = evaluate(tiny.path, labelled, reference=tiny_onnx, progress=lambda *args: done.append(args))
    assert list(result) == ["top1", "top5", "agreement", "cosine", "n", "float_top1"]
    assert result["float_top1"] == result["top1"]
    assert result["top1"] == pytest.approx(8 / 9) and result["n"] == 9
    assert result["agreement"] == 1.0 and result["cosine"] == pytest.approx(1.0)
    assert done[-1] == (1.0, "9 of 9 images")


def test_without_reference_and_labels(tiny, tmp_path):
    np.savez(tmp_path / "d.npz", images=IMAGES)
    result = evaluate(tiny.path, tmp_path / "d.npz", limit=4)
    assert result == {"top1": None, "top5": None, "agreement": None, "cosine": None, "n": 4}


def test_onnx_model(tiny_onnx, labelled, tmp_path):
    (tmp_path / "p.yaml").write_text("{channels: RGB, mean: [100, 100, 100], std: [10, 10, 10]}")
    assert evaluate(tiny_onnx, labelled, preprocess=tmp_path / "p.yaml")["top1"] == pytest.approx(8 / 9)
    assert evaluate(tiny_onnx, labelled)["top1"] < 1  # relu(-pixel) is 0 everywhere


def test_an_image_that_is_none_in_the_middle(tiny, tmp_path):
    for i in range(3):
        Image.fromarray(IMAGES[i]).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1\.png.*; before that, 1 image: no scores$"):
        evaluate(tiny.path, tmp_path)


def test_bad_arguments(tiny, tiny_onnx, labelled, tmp_path):
    (tmp_path / "text.onnx").write_text("text")
    for arguments, message in [
        ((tmp_path / "none", labelled), "no such bundle or ONNX file: .*none"),
        ((tmp_path / "text.onnx", labelled), r"can't load .*text\.onnx"),
        ((tmp_path, labelled), "no bundle"),
        ((tmp_path / ("x" * 300), labelled), "File name too long"),
        ((tiny.path, tmp_path / f"{'x' * 300}.npz"), "File name too long"),
        ((tiny.path, labelled, tmp_path / ("x" * 300)), "File name too long"),
        ((tiny.path, tmp_path / "none"), "no such file or directory"),
    ]:
        with pytest.raises(UserError, match=message) as error:
            evaluate(**dict(zip(("model", "data", "reference"), arguments, strict=False)))
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"no such ONNX file: .*none"):
        evaluate(tiny.path, labelled, reference=tmp_path / "none")


def test_the_own_engine_where_onnx_runtime_is_missing(tiny, tiny_onnx, labelled, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert float_engine() == "eq_tvm float32"
    result = evaluate(tiny.path, labelled, reference=tiny_onnx)
    assert result["agreement"] == 1.0 and result["cosine"] == pytest.approx(1.0)


@pytest.mark.parametrize("has_onnxruntime", [True, False])
def test_an_input_that_is_constant(tmp_path, monkeypatch, has_onnxruntime):
    """And results that have as many rows as the data choose."""
    if not has_onnxruntime:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    nodes = [
        ("Conv", "x w", "c", {}),
        ("Greater", "c limit", "g", {}),
        ("NonZero", "g", "n", {}),
        ("Cast", "n", "y", {"to": 1}),
    ]
    model = write_model(
        tmp_path / "net.onnx", nodes, {"x": (1, 3, 8, 8), "limit": (1,)}, ["y"], {"w": random(4, 3, 3, 3)}
    )
    np.savez(tmp_path / "d.npz", x=random(8, 3, 8, 8))
    options = {"calibration": tmp_path / "d.npz", "constants": {"limit": 0.5}, "method": "minmax", "scheme": "int8"}
    bundle = eq_tvm.compile(model, output=tmp_path / "net.eqtvm", **options)
    assert evaluate(bundle.path, tmp_path / "d.npz", reference=model, limit=3)["cosine"] > 0.8
