"""Old operator sets mean what they meant."""

import numpy as np
import pytest
from onnx_models import check_against_onnxruntime, random, write_model


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("opset", [9, 11, 12, 13])
@pytest.mark.parametrize("axis", [None, 0, 2, -1])
def test_softmax_over_several_axes(tmp_path, operator, opset, axis):
    attributes = {} if axis is None else {"axis": axis}
    axis_is_old = axis is None or axis >= 0 or opset >= 11
    if not axis_is_old:
        pytest.skip("negative axes came with operator set 11")
    path = write_model(tmp_path / "m.onnx", [(operator, "x", "y", attributes)], {"x": (2, 3, 4)}, ["y"], opset=opset)
    check_against_onnxruntime(path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset,operator", [(7, "Upsample"), (9, "Upsample"), (10, "Resize")])
@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_images_are_resized_by_their_corners(tmp_path, mode, opset, operator, factor):
    scales = np.array([1, 1, factor, factor], np.float32)
    given = {"mode": mode} | ({"scales": scales.tolist()} if opset < 9 else {})
    node = (operator, "x" if opset < 9 else "x s", "y", given)
    weights = {} if opset < 9 else {"s": scales}
    check_against_onnxruntime(
        write_model(tmp_path / "m.onnx", [node], {"x": (1, 2, 4, 5)}, ["y"], weights, opset=opset)
    )


def test_constants_of_a_batch_norm_and_a_clip(tmp_path):
    parameters = {name: np.abs(random(4, seed=i)) for i, name in enumerate("abcd")}
    nodes = [("BatchNormalization", "x a b c d", "n", {}), ("Clip", "n", "y", {"min": -0.5, "max": 0.5})]
    check_against_onnxruntime(write_model(tmp_path / "m.onnx", nodes, {"x": (1, 4, 5, 5)}, ["y"], parameters, opset=8))
