"""Inputs that are integers already go to the first kernel as they are, on each architecture."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from aarch64 import export
from onnx_models import write_model
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.importer import import_onnx
from eq_tvm.passes.graph.rewrite import Graph
from eq_tvm.targets import get_target

KINDS = [("uint8", 0), ("uint8", 128), ("uint8", 7), ("uint8", 255), ("int8", 0), ("int8", -1), ("int8", -128)]


def network(path, dtype, zero):
    """A padded convolution of bytes, NHWC, whose result is bytes, too; scales are powers of two."""
    rng = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.25),
        "z": np.array(zero, dtype),
        "q": rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8),
        "ws": np.float32([1, 2, 4, 8, 16, 32]) / 64,
        "wz": np.zeros(6, np.int8),
        "t": np.float32(64),
        "u": np.int8(3),
    }
    nodes = [
        ("DequantizeLinear", "x s z", "d", {}),
        ("Transpose", "d", "n", {"perm": [0, 3, 1, 2]}),
        ("DequantizeLinear", "q ws wz", "w", {"axis": 0}),
        ("Conv", "n w", "c", {"pads": [1, 1, 1, 1]}),
        ("QuantizeLinear", "c t u", "y", {}),
    ]
    write_model(path, nodes, {"x": (1, 7, 8, 4)}, ["y"], constants)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    onnx.save(model, path)
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (1, 7, 8, 4)).astype(dtype)
    return x, onnxruntime.InferenceSession(path).run(None, {"x": x})[0]


def annotated(path):
    return pipeline.take_scales(pipeline.canonicalize(import_onnx(path)))[0]


@pytest.mark.parametrize(("dtype", "zero"), KINDS)
@pytest.mark.parametrize("target", ["x86", "rpi4"])
def test_results_are_those_of_the_definition(tmp_path, target, dtype, zero, request):
    x, expected = network(tmp_path / "net.onnx", dtype, zero)
    built, _ = pipeline.build(annotated(tmp_path / "net.onnx"), get_target(target))
    if target == "x86":
        result = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    else:
        board = request.getfixturevalue("aarch64")
        (result,) = board.run_vm(export(built, tmp_path / "network.so"), [x])
    np.testing.assert_array_equal(result, expected, strict=True)


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("uint8", 128), ("int8", 0)])
def test_nothing_is_copied(tmp_path, dtype, zero):
    network(tmp_path / "net.onnx", dtype, zero)
    mod, _ = pipeline.lower(annotated(tmp_path / "net.onnx"), get_target("x86"))
    first = next(iter(Graph(mod).values.values()))
    assert first.args[0].name_hint.startswith("conv3x3") and first.args[1][0].name == "x"
