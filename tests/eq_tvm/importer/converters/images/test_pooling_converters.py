"""Poolings against ONNX Runtime: places of maxima, norms, windows that the image's end cuts."""

import onnx
import pytest
from onnx_models import check_against_onnxruntime, operators, write_model

POOLS = [
    {"kernel_shape": [3]},
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "dilations": [1, 2]},
    {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [1, 0, 0, 0, 1, 1]},
]


def write(path, operator, attributes, outputs="y", opset=22):
    shape = (2, 3, *[8, 7, 6][: len(attributes["kernel_shape"])])
    write_model(path / "m.onnx", [(operator, "x", outputs, attributes)], {"x": shape}, outputs.split(), opset=opset)
    if outputs == "y i":
        model = onnx.load(path / "m.onnx")
        model.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
        onnx.save(model, path / "m.onnx")
    return path / "m.onnx"


@pytest.mark.parametrize("attributes", POOLS, ids=str)
@pytest.mark.parametrize("storage_order", [0, 1])
def test_places_of_maxima(tmp_path, attributes, storage_order):
    check_against_onnxruntime(write(tmp_path, "MaxPool", attributes | {"storage_order": storage_order}, "y i"))


@pytest.mark.parametrize("attributes", POOLS, ids=str)
@pytest.mark.parametrize("p", [1, 3])
def test_norms(tmp_path, attributes, p):
    check_against_onnxruntime(write(tmp_path, "LpPool", attributes | {"p": p}))


@pytest.mark.parametrize("attributes", POOLS, ids=str)
@pytest.mark.parametrize("count_include_pad", [0, 1])
def test_averages(tmp_path, attributes, count_include_pad):
    check_against_onnxruntime(write(tmp_path, "AveragePool", attributes | {"count_include_pad": count_include_pad}))


@pytest.mark.parametrize(
    "extents,attributes",
    [
        ((9,), {"kernel_shape": [3], "strides": [2]}),
        ((8, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ((8, 6), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ((7, 5, 6), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [1, 0, 0, 0, 0, 0]}),
    ],
)
def test_back_to_the_places_of_maxima(tmp_path, extents, attributes):
    nodes = [("MaxPool", "x", "p i", attributes), ("MaxUnpool", "p i", "y", attributes)]
    write_model(tmp_path / "m.onnx", nodes, {"x": (2, 3, *extents)}, ["y"], opset=22)
    check_against_onnxruntime(tmp_path / "m.onnx")


def test_maxima_alone_stay_what_the_passes_know(tmp_path):
    assert operators(check_against_onnxruntime(write(tmp_path, "MaxPool", POOLS[1]))) == ["nn.max_pool2d"]
