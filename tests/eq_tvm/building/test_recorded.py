"""What is said where calibration images can't be typical."""

import warnings

import numpy as np
import pytest
from onnx_models import random, write_model

import eq_tvm


@pytest.mark.parametrize(("count", "said"), [(1, "is one image"), (4, "has 4 images that are all the same")])
def test_hardly_any_images(tmp_path, count, said):
    model = write_model(
        tmp_path / "net.onnx", [("Conv", "x w", "y", {})], {"x": (1, 3, 8, 8)}, ["y"], {"w": random(4, 3, 3, 3)}
    )
    np.savez(tmp_path / "d.npz", x=np.repeat(random(1, 3, 8, 8), count, axis=0))
    with pytest.warns(UserWarning, match=rf"d\.npz {said}: scales need about 50 typical ones"):
        eq_tvm.compile(model, calibration=tmp_path / "d.npz", output=tmp_path / "b.eqtvm", method="minmax")


def test_images_of_one_batch(tmp_path):
    """A single run of the network takes all of them."""
    model = write_model(
        tmp_path / "net.onnx", [("Conv", "x w", "y", {})], {"x": (3, 3, 8, 8)}, ["y"], {"w": random(4, 3, 3, 3)}
    )
    np.savez(tmp_path / "d.npz", x=random(3, 3, 8, 8))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*scales need about 50 typical ones")
        eq_tvm.compile(model, calibration=tmp_path / "d.npz", output=tmp_path / "b.eqtvm", method="minmax")
    np.savez(tmp_path / "d.npz", x=np.repeat(random(1, 3, 8, 8), 3, axis=0))
    with pytest.warns(UserWarning, match="has 3 images that are all the same"):
        eq_tvm.compile(model, calibration=tmp_path / "d.npz", output=tmp_path / "c.eqtvm", method="minmax")
