"""The same float network from ONNX, PyTorch, TFLite and Relay compiles to the same."""

import functools

import numpy as np
import onnx
import pytest
from as_formats import Network, folded, to_relay, to_tflite, to_torch

import eq_tvm
from eq_tvm import example


@pytest.fixture(scope="module")
def model():
    """The embedded example: residual blocks, branches, depthwise layers, poolings."""
    return folded(onnx.load(example.MODEL))


@pytest.fixture(scope="module")
def images():
    with np.load(example.EVAL) as archive:
        return archive["images"][:20]


def compiled(network, folder, scheme, **options):
    calibration = {} if scheme == "float32" else {"calibration": example.CALIBRATION, "images": 16}
    return eq_tvm.compile(
        network, preprocess=example.PREPROCESS, scheme=scheme, output=folder / "b.eqtvm", **calibration, **options
    )


def scores(bundle, images):
    model = eq_tvm.load(bundle.path)
    return np.stack([next(iter(model.run(image).values())).ravel() for image in images])


@pytest.fixture(scope="module")
def from_onnx(model, images, tmp_path_factory):
    """The ONNX file's scores, by scheme."""
    folder = tmp_path_factory.mktemp("onnx")
    onnx.save(model, folder / "net.onnx")
    return functools.cache(lambda scheme: scores(compiled(folder / "net.onnx", folder, scheme), images))


FORMATS = ["torch", "tflite", "relay"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_equal_outputs(model, images, from_onnx, format, scheme, tmp_path):
    """At INT8 to the bit: weights are the same, and so is what float32 rounds on the way to scales."""
    net, expected, options = Network(model), from_onnx(scheme), {}
    if format == "torch":
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        pytest.importorskip("onnxscript")
        network, options = to_torch(net), {"example": torch.zeros(net.shapes[net.input])}
    elif format == "tflite":
        network = to_tflite(net, tmp_path / "net.tflite")
    else:
        network = to_relay(net, tmp_path / "net.relay")
    result = scores(compiled(network, tmp_path, scheme, **options), images)
    if scheme == "float32":
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(result, expected)
