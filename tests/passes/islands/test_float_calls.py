"""Float islands of a lowered module."""

from onnx_models import canonical, random, write_model

from eq_tvm import pipeline
from eq_tvm.passes import float_calls
from eq_tvm.targets import get_target


def lowered(folder, nodes, quantized):
    weights = {"w": random(8, 3, 3, 3), "v": random(8, 8, 1, 1)}
    module = canonical(write_model(folder / "net.onnx", nodes, {"x": [1, 3, 8, 8]}, ["y"], weights))
    if quantized:
        module, _ = pipeline.calibrate(module, {"x": random(2, 3, 8, 8)}, method="minmax")
    return float_calls(pipeline.lower(module, get_target("x86"))[0])


def test_what_stands_between_integer_layers(tmp_path):
    softmax = [
        ("Conv", "x w", "a", {}),
        ("Softmax", "a", "s", {"axis": 1}),
        ("Conv", "s v", "b", {}),
        ("Softmax", "b", "y", {"axis": 1}),
    ]
    islands = lowered(tmp_path, softmax, True)
    assert islands == {"softmax": 2, "transpose_36x8": 2}  # to NCHW and back, and for the output


def test_integers_are_none(tmp_path):
    assert lowered(tmp_path, [("Conv", "x w", "a", {}), ("Relu", "a", "b", {}), ("Conv", "b v", "y", {})], True) == {
        "transpose_36x8": 1
    }  # the output's


def test_of_a_float_network_all(tmp_path):
    assert sum(lowered(tmp_path, [("Conv", "x w", "a", {}), ("Conv", "a v", "y", {})], False).values()) >= 2
