"""Encodings for AIMET, applied to the float network beside them as its documentation says."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx_models import random, write_model

import eq_tvm
from eq_tvm import cli, data, example
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.errors import UserError
from eq_tvm.exporting.export import _check_own, export
from eq_tvm.exporting.qdq import PRODUCER


def session(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def applied(network, encodings):
    """The network with what an encoding does behind each tensor that has one."""
    graph = network.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for encoding in encodings["param_encodings"]:
        tensor = constants[encoding["name"]]
        weights, scale = numpy_helper.to_array(tensor), np.float32(encoding["scale"])
        axis = 1 if weights.ndim == 2 else 0  # of output channels
        steps = scale.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
        top = 2 ** encoding["bw"] - 1
        offset = np.array(encoding["offset"]).reshape(steps.shape)
        integers = np.clip(np.rint(weights / steps) - offset, 0, top) + offset
        np.testing.assert_allclose(integers * steps, weights, rtol=1e-6, atol=1e-9)  # they are on the grid
    nodes, names = [], {}

    def constant(value):
        name = f"constant{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
        return name

    def emit(kind, *operands):
        operands = [x if isinstance(x, str) else constant(x) for x in operands]
        nodes.append(helper.make_node(kind, operands, [f"e{len(nodes)}"]))
        return nodes[-1].output[0]

    def quantized(name, encoding):
        (scale,), (offset,) = encoding["scale"], encoding["offset"]
        steps = emit("Round", emit("Div", name, scale))
        names[name] = emit("Mul", emit("Clip", steps, offset, offset + 2 ** encoding["bw"] - 1), scale)

    waiting = {encoding["name"]: encoding for encoding in encodings["activation_encodings"]}
    assert len(waiting) == len(encodings["activation_encodings"]), "one encoding for each tensor"
    for info in graph.input:
        if info.name in waiting:
            quantized(info.name, waiting.pop(info.name))
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        nodes.append(node)
        for name in node.output:
            if name in waiting:
                quantized(name, waiting.pop(name))
    assert not waiting, "encodings of no tensor"
    del graph.node[:]
    graph.node.extend(nodes)
    return network


def exported(bundle, tmp_path):
    file = tmp_path / "net.encodings"
    assert cli.main(["export", str(bundle.path), str(file)]) == 0
    network, encodings = onnx.load(tmp_path / "net.onnx"), json.loads(file.read_text())
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in network.graph.node}
    return network, encodings


@pytest.mark.parametrize("options", [{"scheme": "int8"}, {"scheme": "int7", "activation_range": "symmetric"}])
def test_they_give_the_quantized_network(options, tmp_path):
    how = {"calibration": example.CALIBRATION, "preprocess": example.PREPROCESS, "images": 8, **options}
    bundle = eq_tvm.compile(example.MODEL, output=tmp_path / "e.eqtvm", **how)
    network, encodings = exported(bundle, tmp_path)
    image = data.read(example.EVAL).input(0, bundle.inputs[0].shape, bundle.preprocess)
    feeds = {bundle.inputs[0].name: image}
    (expected,) = session((bundle.path / bundles.NETWORK).read_bytes()).run(None, feeds)
    (floats,) = session(network.SerializeToString()).run(None, feeds)
    (results,) = session(applied(network, encodings).SerializeToString()).run(None, feeds)
    np.testing.assert_allclose(results, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert 1e-4 < np.abs(floats - expected).max() / np.abs(expected).max() < 0.2


def test_no_network_is_replaced(tmp_path, capsys):
    (tmp_path / "net.onnx").write_bytes(b"mine")
    assert cli.main(["export", str(tmp_path / "b.eqtvm"), str(tmp_path / "net.encodings")]) == 2
    assert "net.onnx would be replaced" in capsys.readouterr().err
    assert (tmp_path / "net.onnx").read_bytes() == b"mine"


def test_only_what_was_exported_is_replaced(tmp_path):
    path = tmp_path / "net.onnx"
    _check_own(path)  # it is not there
    model = onnx.load(example.MODEL)
    for producer, allowed in (("pytorch", False), (PRODUCER, True)):
        model.producer_name = producer
        onnx.save(model, path)
        if allowed:
            _check_own(path)
        else:
            with pytest.raises(UserError, match="would be replaced, which eq_tvm has not exported"):
                _check_own(path)
    path.write_bytes(b"no network")
    with pytest.raises(UserError, match="would be replaced"):
        _check_own(path)


def test_tensors_with_several_readers(tmp_path):
    """One that is also read unquantized is another than the quantized one."""
    nodes = [
        ("Conv", "x w", "c", {}),
        ("Erf", "c", "e", {}),
        ("Conv", "c v", "d", {}),
        ("ReduceMax", "e", "m", {}),
        ("ReduceMax", "d", "n", {}),
        ("Add", "m n", "y", {}),
    ]
    constants = {"w": random(6, 4, 3, 3), "v": random(5, 6, 1, 1, seed=1)}
    path = write_model(tmp_path / "s.onnx", nodes, {"x": (1, 4, 8, 8)}, ["y"], constants)
    bundle = eq_tvm.compile(path, calibration="random", output=tmp_path / "s.eqtvm")
    network, encodings = exported(bundle, tmp_path)
    feeds = {"x": random(1, 4, 8, 8, seed=2)}
    (expected,) = session((bundle.path / bundles.NETWORK).read_bytes()).run(None, feeds)
    (results,) = session(applied(network, encodings).SerializeToString()).run(None, feeds)
    np.testing.assert_allclose(results, expected, rtol=1e-4)


def test_inputs_of_integers(tmp_path):
    nodes = [
        ("DequantizeLinear", "x s z", "d", {}),
        ("DequantizeLinear", "q ws wz", "w", {"axis": 0}),
        ("Conv", "d w", "c", {}),
        ("QuantizeLinear", "c s z", "cq", {}),
        ("DequantizeLinear", "cq s z", "y", {}),
    ]
    integers = np.random.default_rng(0).integers(-127, 128, (6, 4, 3, 3)).astype("int8")
    constants = {"q": integers, "ws": np.full(6, 0.01, np.float32), "wz": np.zeros(6, np.int8)}
    constants |= {"s": np.float32(0.1), "z": np.uint8(128)}
    write_model(tmp_path / "m.onnx", nodes, {"x": (1, 4, 8, 8)}, ["y"], constants)
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(model, tmp_path / "m.onnx")
    eq_tvm.compile(tmp_path / "m.onnx", output=tmp_path / "m.eqtvm")
    with pytest.raises(eq_tvm.UserError, match="the input 'x' is integers, for which AIMET has no encoding"):
        export(tmp_path / "m.eqtvm", tmp_path / "e.encodings")
    assert not (tmp_path / "e.encodings").exists()
