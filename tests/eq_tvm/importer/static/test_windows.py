"""Resizing and pooling in the forms that exporters write, against ONNX Runtime."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, write_model

from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx

NONE = np.zeros(0, "float32")


@pytest.mark.parametrize("opset", [11, 12, 13, 18])
@pytest.mark.parametrize("roi", ["none", "-"])
@pytest.mark.parametrize("mode,coordinates", [("linear", "half_pixel"), ("nearest", "asymmetric")])
def test_resize_with_scales_of_no_elements(tmp_path, opset, roi, mode, coordinates):
    """As PyTorch writes a resize to a size."""
    if roi == "-" and opset < 13:
        pytest.skip("has to be given")
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    attributes |= {"nearest_mode": "floor"} if mode == "nearest" else {}
    nodes = [("Resize", f"x {roi} none sizes", "y", attributes)]
    constants = {"none": NONE, "sizes": np.array([1, 3, 9, 14])}
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 5, 7)}, ["y"], constants, opset=opset)
    check_against_onnxruntime(path)


@pytest.mark.parametrize("opset", [10, 11, 13, 18])
@pytest.mark.parametrize("extent,scale", [(10, 0.7), (30, 0.9), (20, 1.15), (10, 2.3), (10, 1.1)])
def test_resize_by_a_scale_that_is_no_float(tmp_path, opset, extent, scale):
    """Runtimes round the product where onnx infers the number below."""
    scales = {"scales": np.float32([1, 1, 1, scale])}
    nodes = [("Resize", "x scales" if opset < 11 else "x none scales", "y", {"mode": "linear"})]
    constants = scales if opset < 11 else scales | {"none": NONE}
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 5, extent)}, ["y"], constants, opset=opset)
    check_against_onnxruntime(path)


@pytest.mark.parametrize("opset", [11, 17, 19])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 1, 1]},  # the last begins in the padding
        {"kernel_shape": [1, 1], "strides": [2, 2]},
        {"kernel_shape": [2, 3], "strides": [3, 2], "pads": [0, 0, 1, 0]},  # on one axis only
        {"kernel_shape": [3, 3], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ],
)
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_ceil_mode(tmp_path, operator, window, opset):
    nodes = [(operator, "x", "y", window | {"ceil_mode": 1})]
    check_against_onnxruntime(write_model(tmp_path / "m.onnx", nodes, {"x": (1, 2, 12, 12)}, ["y"], opset=opset))


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_shape": [2, 3], "strides": [3, 2], "pads": [0, 0, 1, 0]},
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 0, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ],
)
def test_ceil_mode_that_counts_padding(tmp_path, window, opset):
    nodes = [("AveragePool", "x", "y", window | {"ceil_mode": 1, "count_include_pad": 1})]
    check_against_onnxruntime(write_model(tmp_path / "m.onnx", nodes, {"x": (1, 2, 12, 12)}, ["y"], opset=opset))


@pytest.mark.parametrize("scales", [np.float32(2), np.float32([[1, 1, 2, 2]]), np.array([b"a"] * 4, object)])
def test_scales_that_are_none(tmp_path, scales):
    nodes = [("Resize", "x - scales", "y", {"mode": "nearest"})]
    path = write_model(tmp_path / "m.onnx", nodes, {"x": (1, 3, 5, 7)}, ["y"], {"scales": scales})
    with pytest.raises(UserError, match=r"Resize \(node 'n0'\)") as error:
        import_onnx(path)
    assert "\n" not in str(error.value)
