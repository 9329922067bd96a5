"""AffineGrid and GridSample against ONNX Runtime."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, write_model


@pytest.mark.parametrize("extents", [(3, 4), (1, 5), (2, 3, 4), (3, 1, 2)])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_grids(tmp_path, extents, align_corners):
    rank = len(extents)
    nodes = [("AffineGrid", "t s", "y", {"align_corners": align_corners})]
    sizes = {"s": np.array([2, 3, *extents])}
    write_model(tmp_path / "m.onnx", nodes, {"t": (2, rank, rank + 1)}, ["y"], sizes, opset=20)
    check_against_onnxruntime(tmp_path / "m.onnx")


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize(
    ("mode", "extents"),
    [
        *((mode, extents) for mode in ("linear", "nearest") for extents in ((5, 4), (1, 4), (1, 1))),
        ("cubic", (1, 4)),
        *(pytest.param("cubic", extents, marks=pytest.mark.exhaustive) for extents in ((5, 4), (1, 1))),  # 10 s each
    ],
)
def test_reflections(tmp_path, extents, mode, align_corners):
    attributes = {"mode": mode, "padding_mode": "reflection", "align_corners": align_corners}
    nodes = [("GridSample", "x g", "y", attributes)]
    write_model(tmp_path / "m.onnx", nodes, {"x": (2, 3, *extents), "g": (2, 4, 3, 2)}, ["y"], opset=20)
    check_against_onnxruntime(tmp_path / "m.onnx")


def test_reflections_of_volumes_of_one_slice(tmp_path):
    attributes = {"mode": "linear", "padding_mode": "reflection", "align_corners": 1}
    nodes = [("GridSample", "x g", "y", attributes)]
    write_model(tmp_path / "m.onnx", nodes, {"x": (2, 3, 1, 4, 5), "g": (2, 2, 4, 3, 3)}, ["y"], opset=20)
    check_against_onnxruntime(tmp_path / "m.onnx")
