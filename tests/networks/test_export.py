"""Quantized networks as ONNX: what ONNX Runtime makes of them, and what comes back."""

import hybrid_graphs as hybrids
import numpy as np
import onnx
import onnxruntime
import pytest
from covering import covering
from onnx_models import random, write_model

import eq_tvm
from eq_tvm import cli, data, example
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.exporting.export import export
from eq_tvm.preprocess import Preprocess

DATA = {
    "resnet20_cifar10": ("cifar10/calib.npz", "cifar10/eval.npz"),
    "mobilenetv2_tiny_cifar10": ("cifar10/calib.npz", "cifar10/eval.npz"),
    "squeezenet1_1": ("imagenet/calib_labels.csv", "imagenet/eval_labels.csv"),
}
AGREES = {"resnet20_cifar10": 0.95, "mobilenetv2_tiny_cifar10": 0.95, "squeezenet1_1": 0.95}
IMAGES = 20


def results(bundle, images):
    model = eq_tvm.load(bundle)
    return np.concatenate([next(iter(model.run(image).values())) for image in images])


@pytest.mark.parametrize("scheme, network", covering(["int7", "int8"], [*DATA]))
def test_there_and_back(network, scheme, shared_data, tmp_path):
    model, (calibration, others) = shared_data.models[network], (shared_data.path / file for file in DATA[network])
    preprocess = model.with_suffix(".preprocess.yaml")
    before = eq_tvm.compile(
        model, calibration=calibration, preprocess=preprocess, scheme=scheme, images=8, output=tmp_path / "a.eqtvm"
    )
    file = tmp_path / "net.qdq.onnx"
    assert cli.main(["export", str(before.path), str(file)]) == 0
    after = eq_tvm.compile(file, output=tmp_path / "b.eqtvm")
    assert after.scheme == "own" and not after.calibration["float"]
    samples, shape = data.read(others), before.inputs[0].shape
    images = [samples.input(i, shape, Preprocess.read(preprocess)) for i in range(IMAGES)]
    expected = results(before, images)
    np.testing.assert_array_equal(results(after, images), expected)
    session = _unfused(file)
    theirs = np.concatenate([session.run(None, {before.inputs[0].name: image})[0] for image in images])
    assert np.mean(theirs.argmax(1) == expected.argmax(1)) >= AGREES[network]
    written = onnx.load(file)
    assert {layer["layer"] for layer in before.calibration["layers"] if layer["op"] in ("conv2d", "dense")} <= {
        node.name for node in written.graph.node
    }
    assert sum(len(tensor.raw_data) for tensor in written.graph.initializer) < model.stat().st_size / 2


def test_rms_norm(tmp_path):
    """Is written as squares, a mean and a root, which become the operator again."""
    hybrids.network(hybrids.cross_covariance)(tmp_path / "net.onnx")
    before = eq_tvm.compile(tmp_path / "net.onnx", calibration="random", method="minmax", output=tmp_path / "a.eqtvm")
    assert cli.main(["export", str(before.path), str(tmp_path / "net.qdq.onnx")]) == 0
    after = eq_tvm.compile(tmp_path / "net.qdq.onnx", output=tmp_path / "b.eqtvm")
    images = [random(*before.inputs[0].shape, seed=i) for i in range(3)]
    np.testing.assert_array_equal(results(after, images), results(before, images))


def test_float_operators(tmp_path):
    """They are written as they are."""
    nodes = [
        ("Conv", "x k", "c", {"pads": [1, 1, 1, 1]}),
        ("ReduceL2", "c", "n", {"axes": [1]}),
        ("Div", "c n", "d", {}),
        ("Softmax", "d", "s", {"axis": 1}),
        ("LeakyRelu", "s", "l", {"alpha": 0.2}),
        ("Resize", "l - scales", "r", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}),
        ("ReduceMax", "r", "m", {"axes": [2], "keepdims": 0}),
        ("Transpose", "m", "t", {"perm": [0, 2, 1]}),
    ]
    constants = {"k": random(6, 4, 3, 3), "scales": np.float32([1, 1, 2, 2])}
    path = write_model(tmp_path / "f.onnx", nodes, {"x": (1, 4, 8, 8)}, ["t"], constants)
    bundle = eq_tvm.compile(path, calibration="random", output=tmp_path / "f.eqtvm")
    session = onnxruntime.InferenceSession(export(bundle.path, tmp_path / "e.onnx"))
    x = random(1, 4, 8, 8, seed=3)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], eq_tvm.load(bundle).run(x)["t"], rtol=1e-4, atol=1e-4)


def test_what_has_nothing_quantized(tmp_path, capsys):
    eq_tvm.compile(example.MODEL, scheme="float32", output=tmp_path / "f.eqtvm")
    assert cli.main(["export", str(tmp_path / "f.eqtvm"), str(tmp_path / "f.onnx")]) == 2
    assert "has no quantized network to export: nothing in it is quantized" in capsys.readouterr().err
    assert not (tmp_path / "f.onnx").exists()


def test_what_can_not_be_written(tmp_path, capsys):
    nodes = [("Conv", "x k", "c", {}), ("ReduceL2", "c", "y", {"axes": [1]}), ("TopK", "y n", "v i", {})]
    path = write_model(
        tmp_path / "n.onnx", nodes, {"x": (1, 4, 8, 8)}, ["v"], {"k": random(6, 4, 3, 3), "n": np.int64([2])}
    )
    bundle = eq_tvm.compile(path, calibration="random", output=tmp_path / "n.eqtvm")
    assert bundle.not_exported.startswith("node n2") and not (tmp_path / "n.eqtvm" / bundles.NETWORK).exists()
    assert cli.main(["export", str(bundle.path), str(tmp_path / "n.qdq.onnx")]) == 2
    assert "can't be written as ONNX" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"scheme": "w8a12"}, marks=pytest.mark.exhaustive),
        {"scheme": "int8", "keep": {"/residual1/conv2/conv2.0/Conv": "w8a12"}},
    ],
)
def test_activations_of_12_bits(options, tmp_path):
    """All of them, and some beside those of 8."""
    how = {"calibration": example.CALIBRATION, "preprocess": example.PREPROCESS, "images": 8, **options}
    before = eq_tvm.compile(example.MODEL, **how, output=tmp_path / "w.eqtvm")
    file = export(before.path, tmp_path / "w.onnx")
    assert "int16" in {str(onnx.numpy_helper.to_array(t).dtype) for t in onnx.load(file).graph.initializer}
    after = eq_tvm.compile(file, output=tmp_path / "a.eqtvm")
    samples = data.read(example.EVAL)
    images = [samples.input(i, before.inputs[0].shape, before.preprocess) for i in range(IMAGES)]
    expected = results(before, images)
    np.testing.assert_array_equal(results(after, images), expected)
    session = _unfused(file)
    theirs = np.concatenate([session.run(None, {before.inputs[0].name: image})[0] for image in images])
    np.testing.assert_allclose(theirs, expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_array_equal(theirs.argmax(1), expected.argmax(1))


def test_bundles_run_without_it(tmp_path, capsys):
    """Boards need not have it; it may not be altered."""
    bundle = eq_tvm.compile(example.MODEL, calibration="random", scheme="int7", output=tmp_path / "e.eqtvm")
    network = bundle.path / bundles.NETWORK
    network.write_bytes(network.read_bytes()[:-1])
    assert cli.main(["export", str(bundle.path), str(tmp_path / "e.onnx")]) == 2
    assert "was altered: network.onnx" in capsys.readouterr().err
    network.unlink()
    assert cli.main(["export", str(bundle.path), str(tmp_path / "e.onnx")]) == 2
    assert "can't read network.onnx" in capsys.readouterr().err
    eq_tvm.load(bundle.path)


def test_other_endings_are_refused(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path), str(tmp_path / "n.tflite")]) == 2
    assert "must end in .onnx" in capsys.readouterr().err


def _unfused(file):
    """ONNX Runtime without kernels for INT8, whose sums of pairs saturate where there is AVX2 and no VNNI."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
