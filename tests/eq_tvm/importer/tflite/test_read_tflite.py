"""Whole files: inputs and outputs, layouts, notes, and one line for what can't be read."""

import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tflite_files import RELU6, SAME, T, const, run, write

from eq_tvm.errors import UserError
from eq_tvm.importer.tflite import read_tflite

CONV = {"Padding": SAME, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.tflite"


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def two_convolutions(path):
    """With an addition, an activation, a concatenation and a padding between, all of NHWC tensors."""
    tensors = {
        "image:0": T((1, 6, 7, 3), signature=(-1, 6, 7, 3)),
        "w": const(random(4, 3, 3, 3)),
        "b": const(random(4)),
        "a": T((1, 6, 7, 4)),
        "c": const(random(4)),
        "s": T((1, 6, 7, 4)),
        "j": T((1, 6, 7, 8)),
        "pads": const([[0, 0], [1, 0], [0, 2], [0, 0]], "int32"),
        "p": T((1, 7, 9, 8)),
        "v": const(random(2, 1, 1, 8)),
        "y": T((1, 7, 9, 2)),
    }
    operators = [
        ("CONV_2D", "image:0 w b", "a", CONV),
        ("ADD", "a c", "s", {"FusedActivationFunction": RELU6}),
        ("CONCATENATION", "s a", "j", {"Axis": 3}),
        ("PAD", "j pads", "p", {}),
        ("CONV_2D", "p v -", "y", CONV),
    ]
    return write(path, operators, tensors, "image:0", "y")


def test_layouts_change_at_the_ends_only(path):
    model = read_tflite(two_convolutions(path))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["Transpose", "Conv", "Add", "Clip", "Concat", "Pad", "Conv", "Transpose", "Identity"]
    assert [value.name for value in model.graph.input] == ["image:0"]
    shape = model.graph.input[0].type.tensor_type.shape
    assert [axis.dim_value for axis in shape.dim] == [1, 6, 7, 3]
    assert [value.name for value in model.graph.output] == ["y"]
    assert [node.name for node in model.graph.node if node.op_type == "Conv"] == ["a", "y"]
    (result,) = run(path, random(1, 6, 7, 3, seed=1))
    assert result.shape == (1, 7, 9, 2)


def test_names_that_tensorflow_joined_are_cut(path):
    tensors = {"x": T((1, 3)), "net/Relu;net/BiasAdd": T((1, 3))}
    write(path, [("RELU", "x", "net/Relu;net/BiasAdd", {})], tensors, "x", "net/Relu;net/BiasAdd")
    model = read_tflite(path)
    assert model.graph.node[0].name == "net/Relu"
    assert model.graph.output[0].name == "net/Relu;net/BiasAdd"


def test_an_input_may_be_an_output(path):
    write(path, [("ABS", "x", "y", {})], {"x": T((2,)), "y": T((2,))}, "x", "y x")
    np.testing.assert_array_equal(run(path, np.float32([-1, 2])), [[1, 2], [-1, 2]])


def test_float16_weights_are_float32(path):
    weights = random(5, 4).astype(np.float16)
    tensors = {"x": T((2, 4)), "h": const(weights), "w": T((5, 4)), "y": T((2, 5))}
    operators = [("DEQUANTIZE", "h", "w", {}), ("FULLY_CONNECTED", "x w -", "y", {})]
    x = random(2, 4, seed=1)
    (result,) = run(write(path, operators, tensors, "x", "y"), x)
    np.testing.assert_allclose(result, x @ weights.astype(np.float32).T, rtol=1e-5)
    assert {tensor.data_type for tensor in read_tflite(path).graph.initializer} == {onnx.TensorProto.FLOAT}


def test_weights_of_8_bits_on_floats_are_float32(path):
    integers = np.arange(-10, 10, dtype=np.int8).reshape(5, 4)
    tensors = {"x": T((2, 4)), "w": const(integers, scale=0.5), "y": T((2, 5))}
    x = random(2, 4)
    (result,) = run(write(path, [("FULLY_CONNECTED", "x w -", "y", {})], tensors, "x", "y"), x)
    np.testing.assert_allclose(result, x @ (integers * np.float32(0.5)).T, rtol=1e-5)
    (weights,) = read_tflite(path).graph.initializer
    assert numpy_helper.to_array(weights).dtype == np.float32


DETECTOR = [("RELU", "x", "boxes", {}), ("ABS", "x", "z", {}), ("Post", "boxes scores anchors", "found count", {})]


def test_postprocessing_is_cut_off(path):
    tensors = {
        "x": T((1, 4), "uint8", scale=0.5),
        "boxes": T((1, 4), "uint8", scale=0.25),
        "scores": T((1, 4), "uint8", scale=0.5),
        "anchors": const(random(4)),
        "found": T((4,)),
        "count": T((1,)),
        "z": T((1, 4), "uint8", scale=0.5),
    }
    operators = [*DETECTOR[:2], ("RELU", "x", "scores", {}), DETECTOR[2]]
    write(path, operators, tensors, "x", "z found count", codes=["Post"])
    model = read_tflite(path)
    assert [value.name for value in model.graph.output] == ["z", "boxes", "scores"]
    assert model.doc_string == "ends before Post, which is not part of TFLite; the outputs are 'z', 'boxes', 'scores'"
    z, boxes, scores = run(path, np.uint8([[0, 1, 2, 200]]))
    assert z.dtype == np.uint8  # an output of the file's stays as it is
    np.testing.assert_array_equal(boxes, np.float32([[0, 0.5, 1, 63.75]]))
    np.testing.assert_array_equal(scores, np.float32([[0, 0.5, 1, 100]]))


def refused(path):
    with pytest.raises(UserError) as error:
        read_tflite(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    return line.removeprefix(f"{path}: ")


def test_files_that_are_none(path):
    assert refused(path) == "No such file or directory"
    path.write_bytes(b"")
    assert refused(path) == "the file is empty"
    path.write_bytes(b"\x08\x08\x12\x07pytorch")
    assert refused(path) == "not a TFLite file (the mark TFL3 is missing)"


def test_truncated_files(path):
    content = two_convolutions(path).read_bytes()
    for end in range(8, len(content) - 4, max(len(content) // 60, 1)):
        path.write_bytes(content[:end])
        assert "truncated" in refused(path)


def test_without_the_package(path, monkeypatch):
    two_convolutions(path)
    monkeypatch.setitem(sys.modules, "tflite", None)
    assert refused(path) == "reading TFLite files takes the package tflite: pip install tflite"


def test_custom_operators(path):
    tensors = {"x": T((1, 4)), "m": T((1, 4)), "y": T((1, 4))}
    write(path, [("Window", "x", "m", {}), ("RELU", "m", "y", {})], tensors, "x", "y", codes=["Window"])
    assert refused(path) == (
        "Window (tensor 'm') is a custom operator; only builtin ones can be read: cut the network before it"
    )
    write(path, [("ethos-u", "x", "y", {})], tensors, "x", "y", codes=["ethos-u"])
    assert "ethos-u (tensor 'y') is a custom operator" in refused(path)


@pytest.mark.parametrize("kind", ["SVDF", "WHILE", "IF", "HASHTABLE_LOOKUP", "RANDOM_UNIFORM"])
def test_operators_without_a_converter(path, kind):
    write(path, [(kind, "x", "y", {})], {"x": T((1, 4)), "y": T((1, 4))}, "x", "y")
    assert refused(path) == f"can't read the operator {kind} (tensor 'y'): cut the network before it"


def test_activations_of_16_bits(path):
    tensors = {"x": T((1, 4), "int16", scale=0.1), "y": T((1, 4), "int16", scale=0.1)}
    write(path, [("RELU", "x", "y", {})], tensors, "x", "y")
    assert "has activations of 16 bits; convert the network with int8 activations" in refused(path)


def test_strings(path):
    tensors = {"x": T((1,), "string"), "y": T((1, 4))}
    write(path, [("RELU", "x", "y", {})], tensors, "x", "y")
    assert "the input 'x' is string; only numbers" in refused(path)


def test_dynamic_shapes(path):
    tensors = {"x": T((1, 1, 1, 3), signature=(-1, -1, -1, 3)), "y": T((1, 1, 1, 3))}
    write(path, [("RELU", "x", "y", {})], tensors, "x", "y")
    assert refused(path) == "input 'x' has the dynamic shape (?, ?, ?, 3); convert the network with a fixed one"


def test_computed_weights(path):
    tensors = {"x": T((1, 5, 5, 2)), "w": T((2, 3, 3, 2)), "y": T((1, 5, 5, 2))}
    write(path, [("CONV_2D", "x w -", "y", CONV)], tensors, "x w", "y")
    assert "CONV_2D (tensor 'y') has weights 'w' that are computed" in refused(path)


def test_shapes_that_contradict(path):
    write(path, [("RELU", "x", "y", {})], {"x": T((1, 4)), "y": T((1, 5))}, "x", "y")
    assert "gives the shape (1, 4), where the file has (1, 5); the file is not valid" in refused(path)


def test_tensors_that_nothing_gives(path):
    write(path, [("ADD", "x z", "y", {})], {"x": T((4,)), "z": T((4,)), "y": T((4,))}, "x", "y")
    assert "nothing gives the tensor 'z'" in refused(path)
