"""Networks that ONNX Runtime quantized, with its own scales: bit for bit what its integer kernels compute."""

import numpy as np
import onnx
import onnxruntime
import pytest
from aarch64 import machine
from covering import usual
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

import eq_tvm
from eq_tvm import data, host
from eq_tvm.preprocess import Preprocess

DATA = {
    "resnet20_cifar10": ("cifar10/calib.npz", "cifar10/eval.npz"),
    "mobilenet_v1_075": ("imagenet/calib_labels.csv", "imagenet/eval_labels.csv"),
}
CALIBRATION_IMAGES, TEST_IMAGES = 8, 24
QDQ, OPERATORS = QuantFormat.QDQ, QuantFormat.QOperator
UNSIGNED, SIGNED = QuantType.QUInt8, QuantType.QInt8


class Images(CalibrationDataReader):
    def __init__(self, name, images):
        self.batches = iter([{name: image} for image in images])

    def get_next(self):
        return next(self.batches, None)


def inputs(shared_data, network, which, count):
    model = shared_data.models[network]
    shape = tuple(axis.dim_value or 1 for axis in onnx.load(model).graph.input[0].type.tensor_type.shape.dim)
    samples, preprocess = (
        data.read(shared_data.path / DATA[network][which]),
        Preprocess.read(model.with_suffix(".preprocess.yaml")),
    )
    return [samples.input(i * len(samples) // count, shape, preprocess) for i in range(count)]


def quantized(shared_data, network, path, **how):
    """As its documentation says, after folding batch norms."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = shared_data.models[network]
    quant_pre_process(str(model), str(path), skip_symbolic_shape=True)
    images = Images(onnx.load(model).graph.input[0].name, inputs(shared_data, network, 0, CALIBRATION_IMAGES))
    quantize_static(str(path), str(path), images, **{"weight_type": SIGNED, "quant_format": QDQ, **how})
    return path


def onnxruntime_results(path, images):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {session.get_inputs()[0].name: image})[0] for image in images])


def step(path):
    """The scale of the output."""
    model = onnx.load(path)
    last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
    return onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == last.input[1])).item()


@pytest.mark.parametrize(
    ("network", "how"),
    [
        *(
            ("resnet20_cifar10", {"activation_type": UNSIGNED, "per_channel": True, "calibrate_method": method})
            for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile)
        ),
        ("resnet20_cifar10", {"activation_type": SIGNED}),
        ("resnet20_cifar10", {"activation_type": UNSIGNED, "quant_format": OPERATORS}),
        ("mobilenet_v1_075", {"activation_type": UNSIGNED, "per_channel": True}),
        ("mobilenet_v1_075", {"activation_type": SIGNED}),
    ],
)
def test_what_onnxruntime_quantized(network, how, shared_data, tmp_path):
    if host.missing_features(["vpdpbusd-512"]):
        pytest.skip("on processors without VNNI, ONNX Runtime's sums of products saturate")
    path = quantized(shared_data, network, tmp_path / "quantized.onnx", **how)
    bundle = eq_tvm.compile(path, output=tmp_path / "q.eqtvm")
    assert bundle.scheme == "own" and bundle.calibration["layers"] and not bundle.calibration["float"]
    assert all(layer["given"] for layer in bundle.calibration["layers"])
    images, model = inputs(shared_data, network, 1, TEST_IMAGES), eq_tvm.load(bundle)
    results = np.concatenate([next(iter(model.run(image).values())) for image in images])
    expected = onnxruntime_results(path, images)
    steps = np.abs(results - expected) / step(path)
    if how["activation_type"] == SIGNED and network.startswith("resnet"):
        # Where a relu does not begin at the least integer, ONNX Runtime computes in float32. What that rounds
        # otherwise, near ties, grows from layer to layer.
        assert steps.max() < 4.01 and steps.mean() < 0.3
    else:
        assert steps.max() < 1.01
    np.testing.assert_array_equal(results.argmax(1), expected.argmax(1))


BOARDS = {"rpi3": "cortex-a53", "rpi4": "cortex-a72", "rpi5": "cortex-a76"}


@pytest.mark.parametrize("target", [pytest.param(name, marks=usual(name == "rpi5")) for name in BOARDS])
def test_on_boards(target, shared_data, tmp_path, aarch64):
    del aarch64
    path = quantized(shared_data, "resnet20_cifar10", tmp_path / "q.onnx", activation_type=SIGNED, per_channel=True)
    (image,) = inputs(shared_data, "resnet20_cifar10", 1, 1)
    here = next(iter(eq_tvm.load(eq_tvm.compile(path, output=tmp_path / "here.eqtvm")).run(image).values()))
    bundle = eq_tvm.compile(path, target=target, output=tmp_path / "there.eqtvm")
    np.testing.assert_array_equal(machine(BOARDS[target]).run_vm(bundle.library, [image])[0], here)
