"""RoiAlign against ONNX Runtime."""

import numpy as np
import pytest
from onnx_models import canonical, check_against_onnxruntime, run_float, write_model

REGIONS = np.float32([[0, 0, 6, 5], [1.5, 2.25, 9, 7], [-3, -1, 4, 12], [3, 3, 3, 3]])


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_align(tmp_path, mode, coordinates, ratio, scale):
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "sampling_ratio": ratio}
    attributes |= {"spatial_scale": scale, "output_height": 2, "output_width": 3}
    operands = {"r": REGIONS, "i": np.array([1, 0, 1, 0])}
    nodes = [("RoiAlign", "x r i", "y", attributes)]
    write_model(tmp_path / "m.onnx", nodes, {"x": (2, 3, 8, 9)}, ["y"], operands)
    check_against_onnxruntime(tmp_path / "m.onnx")


@pytest.mark.parametrize("image", [-(2**40), -1, 2, 2**40])
def test_an_image_that_there_is_not_reads_nothing_else(tmp_path, image):
    """Where regions are as many as the data choose, the others' numbers may be anything."""
    operands = {"r": REGIONS[:1], "i": np.array([image])}
    write_model(tmp_path / "m.onnx", [("RoiAlign", "x r i", "y", {})], {"x": (2, 1, 8, 9)}, ["y"], operands)
    data = np.stack([np.full((1, 8, 9), value, np.float32) for value in (3, 5)])
    (result,) = run_float(canonical(tmp_path / "m.onnx"), data)
    assert result.item() == pytest.approx(3 if image < 0 else 5)
