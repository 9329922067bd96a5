"""What is said of images that are made from the network itself."""

import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm.quantizing.synthetic import images_said


@pytest.mark.parametrize(
    ("images", "synthetic", "said"),
    [
        (1, None, "1 image of x.npz"),
        (2, None, "2 images of x.npz"),
        (1, {"images": 1, "batch_norms": 1}, "1 synthetic image, matched to 1 batch norm: expect about as much"),
        (9, {"images": 8, "batch_norms": 2}, "1 image of x.npz and 8 synthetic images, matched to 2 batch norms"),
        (
            4,
            {"images": 4, "batch_norms": 1, "noise": ["a"]},
            "1 batch norm, and noise for a: typical inputs may win much",
        ),
    ],
)
def test_in_words(images, synthetic, said):
    assert said in images_said({"images": images, "synthetic": synthetic, "source": "x.npz"})


def test_noise_is_said(tmp_path):
    """Nothing is known of a vector, and all of an image."""
    nodes = [("MatMul", "v w", "m", {}), ("GlobalAveragePool", "x", "p", {}), ("Flatten", "p", "f", {})]
    nodes.append(("Add", "m f", "y", {}))
    write_model(tmp_path / "net.onnx", nodes, {"x": (1, 3, 8, 8), "v": (1, 5)}, ["y"], {"w": random(5, 3)})
    with pytest.warns(UserWarning, match=r"nothing says what is typical of v, .*: pass typical ones by --calibration"):
        bundle = eq_tvm.compile(tmp_path / "net.onnx", scheme="int8", output=tmp_path / "b", verify=False)
    assert bundle.calibration["synthetic"]["noise"] == ["v"]
