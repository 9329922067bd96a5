"""The embedded example: its files are there, small, correct, and hold every operator that has a kernel."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from eq_tvm import example


@pytest.fixture(scope="module")
def graph():
    return onnx.load(example.MODEL).graph


def test_files_are_under_one_megabyte():
    files = [example.MODEL, example.CALIBRATION, example.EVAL, example.PREPROCESS]
    assert sum(path.stat().st_size for path in files) < 1_000_000


@pytest.mark.parametrize(("path", "count"), [(example.CALIBRATION, 64), (example.EVAL, 240)])
def test_images(path, count):
    data = np.load(path)
    assert data["images"].shape == (count, 28, 28, 3) and data["images"].dtype == np.uint8
    assert data["labels"].shape == (count,) and data["labels"].dtype == np.int64
    assert set(data["labels"]) == set(range(10))


def test_no_eval_image_is_a_calibration_image():
    calibration, evaluation = (
        np.load(p)["images"].reshape(-1, 28 * 28 * 3) for p in (example.CALIBRATION, example.EVAL)
    )
    assert len(np.unique(np.concatenate([calibration, evaluation]), axis=0)) == len(calibration) + len(evaluation)


def test_model_is_valid_with_a_symbolic_batch(graph):
    model = onnx.load(example.MODEL)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import] == [17]
    assert [(value.name, _shape(value)) for value in graph.input] == [("input", ["batch", 3, 28, 28])]
    assert [(value.name, _shape(value)) for value in graph.output] == [("logits", ["batch", 10])]


def test_model_has_every_kind_of_layer(graph):
    counts = Counter(node.op_type for node in graph.node)
    needed = "Add AveragePool BatchNormalization Clip Concat Flatten Gemm GlobalAveragePool MaxPool Relu"
    assert set(needed.split()) <= set(counts)

    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    kinds = Counter(
        (*weights[node.input[1]][2:], *_attribute(node, "strides"), _attribute(node, "group") > 1) for node in convs
    )
    assert kinds[3, 3, 1, 1, False] >= 5
    assert kinds[3, 3, 2, 2, False] and kinds[1, 1, 1, 1, False] and kinds[1, 1, 2, 2, False]
    assert kinds[3, 3, 1, 1, True] and kinds[3, 3, 2, 2, True]
    assert any(weights[node.input[1]][0] % 8 for node in convs)
    adds = [node for node in graph.node if node.op_type == "Add"]
    assert any(all(makers[name].op_type == "Conv" for name in node.input) for node in adds)
    assert len({len(node.input) for node in convs}) == 2  # with a folded batch norm's bias, and without


def test_onnxruntime_top1():
    data, preprocess = np.load(example.EVAL), yaml.safe_load(example.PREPROCESS.read_text())
    assert preprocess["channels"] == "RGB"
    mean, std = (np.asarray(preprocess[key], "float32") for key in ("mean", "std"))
    pixels = ((data["images"] - mean) / std).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(example.MODEL, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"input": pixels})
    assert (logits.argmax(1) == data["labels"]).mean() >= 0.97


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _attribute(node: onnx.NodeProto, name: str):
    return next(onnx.helper.get_attribute_value(item) for item in node.attribute if item.name == name)
