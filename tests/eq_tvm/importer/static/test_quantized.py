"""Operators on quantized tensors, against onnx's reference and ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import random, write_model
from onnx_nodes import check_node
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from eq_tvm import pipeline
from eq_tvm.building.canonical import import_canonical
from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx
from eq_tvm.running.runtime import Model
from eq_tvm.targets import get_target

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (1, 4, 7, 6)).astype("uint8")
WEIGHTS = RNG.integers(-127, 128, (6, 2, 3, 3)).astype("int8")


@pytest.mark.parametrize("opset", [10, 21])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantized_convolution(tmp_path, opset, per_channel):
    scale = (RNG.random(6) / 64).astype("float32") if per_channel else np.float32([0.01])
    constants = [np.float32(0.02), np.uint8(100), WEIGHTS, scale, np.zeros(scale.shape, "int8")]
    constants += [np.float32(0.3), np.uint8(120), RNG.integers(-999, 999, 6).astype("int32")]
    check_node(tmp_path, "QLinearConv", [PIXELS], constants, group=2, pads=[1, 0, 2, 1], strides=[2, 1], opset=opset)


@pytest.mark.parametrize("zeros", [[], [np.uint8(9)], [np.uint8(9), np.int8(-3)]])
def test_convolution_of_integers(tmp_path, zeros):
    check_node(tmp_path, "ConvInteger", [PIXELS], [WEIGHTS, *zeros], group=2, pads=[1, 1, 1, 1], dilations=[2, 1])


class Noise(CalibrationDataReader):
    def __init__(self):
        self.left = 4

    def get_next(self):
        self.left -= 1
        return {"x": random(1, 4, 9, 9, seed=self.left)} if self.left >= 0 else None


@pytest.mark.parametrize("signed", [False, True])
def test_what_onnx_runtimes_quantizer_writes(tmp_path, signed):
    nodes = [
        ("Conv", "x w", "a", {"pads": [1, 1, 1, 1]}),
        ("LeakyRelu", "a", "b", {"alpha": 0.2}),
        ("Sigmoid", "a", "c", {}),
        ("Mul", "a c", "d", {}),
        ("Add", "b d", "e", {}),
        ("Concat", "e b", "f", {"axis": 1}),
        ("AveragePool", "f", "g", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ("GlobalAveragePool", "g", "h", {}),
        ("Flatten", "h", "i", {}),
        ("Gemm", "i k l", "y", {"transB": 1, "alpha": 0.5}),
    ]
    weights = {"w": random(8, 4, 3, 3), "k": random(3, 16, seed=1), "l": random(3, seed=2)}
    path = write_model(tmp_path / "float.onnx", nodes, {"x": (1, 4, 9, 9)}, ["y"], weights)
    kind = QuantType.QInt8 if signed else QuantType.QUInt8
    made = tmp_path / "quantized.onnx"
    quantize_static(path, made, Noise(), QuantFormat.QOperator, activation_type=kind, weight_type=QuantType.QInt8)
    operators = {node.op_type for node in onnx.load(made).graph.node}
    assert {
        "QLinearConv",
        "QLinearMul",
        "QLinearAdd",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QGemm",
    } <= operators
    x = random(1, 4, 9, 9, seed=9)
    (expected,) = onnxruntime.InferenceSession(made).run(None, {"x": x})
    module, inputs, outputs = import_canonical(made)
    (result,) = Model(pipeline.build(module, get_target("native"))[0], inputs, outputs, None).call([x])
    step = next(v for v in onnx.load(made).graph.initializer if v.name == "y_scale")
    assert np.abs(result - expected).max() <= 1.01 * onnx.numpy_helper.to_array(step)  # ties are rounded either way
    assert np.abs(expected).max() > 20 * onnx.numpy_helper.to_array(step)


def test_another_layout_is_refused(tmp_path):
    node = ("QLinearGlobalAveragePool", "q s z s z", "p", {"channels_last": 1, "domain": "com.microsoft"})
    constants = {"s": np.float32(0.1), "z": np.uint8(0)}
    path = write_model(
        tmp_path / "m.onnx",
        [("QuantizeLinear", "x s z", "q", {}), node, ("DequantizeLinear", "p s z", "y", {})],
        {"x": (1, 4, 9, 9)},
        ["y"],
        constants,
    )
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"QLinearGlobalAveragePool .*only ai\.onnx's can be compiled"):
        import_onnx(path)
