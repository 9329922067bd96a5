"""Operators of all kinds between quantized convolutions: close to ONNX Runtime, float or in integers."""

import aarch64 as emulation
import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from covering import covering
from onnx import helper, numpy_helper
from onnx_models import canonical, random, write_model
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.targets import get_target

I = np.int64  # noqa: E741
SHAPE = (1, 8, 6, 6)  # of `a`, what the first convolution makes, and of `r`, the same behind a relu

# Nodes that make `m` of `a` or `r`, each "operator inputs [-> result]" with attributes, and their constants.
GROUPS = {
    "selection": {
        "gather": ([("Gather", "r i", "m", {"axis": 1})], {"i": I([3, 0, -1, 5])}),
        "gather nd": ([("GatherND", "r i", "g", {}), ("Unsqueeze", "g ax", "m", {})], {"i": I([[0, 1]]), "ax": I([0])}),
        "gather elements": ([("GatherElements", "r i", "m", {"axis": 1})], {"i": np.ones((1, 2, 6, 6), I)}),
        "scatter nd": ([("ScatterND", "r i u", "m", {})], {"i": I([[0, 1]]), "u": random(1, 6, 6)}),
        "scatter elements": (
            [("ScatterElements", "r i u", "m", {"axis": 1})],
            {"i": np.full((1, 1, 6, 6), 2, I), "u": random(1, 1, 6, 6)},
        ),
        "top k": ([("TopK", "a k", "m indices", {"axis": 1})], {"k": I([3])}),
        "split": ([("Split", "a s", "p q", {"axis": 1}), ("Concat", "q p q", "m", {"axis": 1})], {"s": I([3, 5])}),
        "where": (
            [("Less", "a t", "l", {}), ("Neg", "r", "n", {}), ("Where", "l n a", "m", {})],
            {"t": np.float32(0.2)},
        ),
        "trilu": ([("Trilu", "r", "m", {})], {}),
        "cumulative sum": ([("CumSum", "r ax", "m", {"exclusive": 1, "reverse": 1})], {"ax": I(2)}),
        "tile": ([("Tile", "r n", "m", {})], {"n": I([1, 2, 1, 2])}),
        "concat of rows": ([("Concat", "r a", "m", {"axis": 2})], {}),
        "reverse": ([("Slice", "r s e ax st", "m", {})], {"s": I([-1]), "e": I([-99]), "ax": I([1]), "st": I([-1])}),
    },
    "other types": {
        "int64": (
            [("Cast", "a", "g", {"to": 7}), ("Add", "g k", "h", {}), ("Cast", "h", "m", {"to": 1})],
            {"k": I([3])},
        ),
        "float64": (
            [("Cast", "a", "g", {"to": 11}), ("ReduceMean", "g", "h", {"axes": [2, 3]}), ("Cast", "h", "m", {"to": 1})],
            {},
        ),
        "float16": (
            [
                ("Cast", "r", "g", {"to": 10}),
                ("MaxPool", "g", "h", {"kernel_shape": [2, 2]}),
                ("Cast", "h", "m", {"to": 1}),
            ],
            {},
        ),
        "int32": (
            [("Cast", "a", "g", {"to": 6}), ("ReduceMax", "g", "h", {"axes": [2, 3]}), ("Cast", "h", "m", {"to": 1})],
            {},
        ),
        "bool": (
            [("Greater", "a t", "g", {}), ("Not", "g", "h", {}), ("Cast", "h", "m", {"to": 1})],
            {"t": np.float32(0)},
        ),
        "arg max": ([("ArgMax", "r", "g", {"axis": 1}), ("Cast", "g", "m", {"to": 1})], {}),
    },
    "normalization": {
        "softmax": ([("Softmax", "a", "m", {"axis": 1})], {}),
        "softmax of what is masked": (
            [("Add", "a mask", "b", {}), ("Softmax", "b", "m", {"axis": 3})],
            {"mask": np.where(np.tri(6, dtype=bool), np.float32(0), -np.float32(np.inf))},
        ),
        "layer": ([("LayerNormalization", "r g b", "m", {})], {"g": random(6), "b": random(6)}),
        "instance": ([("InstanceNormalization", "r g b", "m", {})], {"g": random(8), "b": random(8)}),
        "batch": (
            [("BatchNormalization", "r g b u v", "m", {})],
            {**dict.fromkeys("gbu", random(8)), "v": np.ones(8, "float32")},
        ),
        "local response": ([("LRN", "r", "m", {"size": 3})], {}),
        "l2": (
            [("ReduceL2", "r", "n", {"axes": [1]}), ("Add", "n k", "o", {}), ("Div", "r o", "m", {})],
            {"k": np.float32(1)},
        ),
        "einsum": ([("Einsum", "r e", "m", {"equation": "bchw,cd->bdhw"})], {"e": random(8, 5)}),
        "cubic": ([("Resize", "r - s", "m", {"mode": "cubic"})], {"s": np.float32([1, 1, 2, 1.5])}),
    },
    "activations": {
        **{kind: ([(kind, "a", "m", {})], {}) for kind in ("HardSwish", "Elu", "Selu", "Softplus", "Softsign", "Sin")},
        "PRelu": ([("PRelu", "a s", "m", {})], {"s": random(8, 1, 1)}),
        "from a constant": ([("Sub", "k r", "m", {})], {"k": random(1, 8, 1, 1)}),
        "of a constant": ([("Exp", "a", "e", {}), ("Div", "k e", "m", {})], {"k": random(6, 6)}),
        "per row": ([("Add", "r k", "m", {})], {"k": random(6, 1)}),
        "below 0": ([("Clip", "a l h", "m", {})], {"l": np.float32(-0.4), "h": np.float32(-0.1)}),
    },
    "padding": {
        "number": ([("Pad", "r p v", "m", {})], {"p": I([0, 0, 1, 2, 0, 0, 0, 1]), "v": np.float32(0.5)}),
        "channels": ([("Pad", "a p v", "m", {})], {"p": I([0, 1, 0, 0, 0, 2, 1, 0]), "v": np.float32(-1)}),
        "cropping": ([("Pad", "r p v", "m", {})], {"p": I([0, 0, -1, 2, 0, 0, 0, -2]), "v": np.float32(1)}),
        "shift": ([("Pad", "r p", "m", {})], {"p": I([0, 0, 1, 0, 0, 0, -1, 0])}),
        "reflect": ([("Pad", "r p", "m", {"mode": "reflect"})], {"p": I([0, 0, 1, 2, 0, 0, 0, 1])}),
        "edge": ([("Pad", "a p", "m", {"mode": "edge"})], {"p": I([0, 0, 1, 2, 0, 0, 0, 1])}),
        "lowest": (
            [("Pad", "a p v", "q", {}), ("MaxPool", "q", "m", {"kernel_shape": [3, 3], "strides": [2, 2]})],
            {"p": I([0, 0, 1, 1, 0, 0, 1, 1]), "v": np.float32(-np.inf)},
        ),
    },
}


@pytest.mark.parametrize("group, scheme", covering([*GROUPS], ["int7", "int8"]))
def test_between_convolutions(group, scheme, tmp_path, aarch64):
    """Close to ONNX Runtime, and the same bits on a board."""
    path = _write(tmp_path / "model.onnx", GROUPS[group])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = random(4, 3, 6, 6)
    expected = dict(zip(GROUPS[group], session.run(None, {"x": x[:1]}), strict=True))
    module, x86 = canonical(path), get_target("x86")
    quantized, _ = pipeline.calibrate(module, {"x": x}, scheme=scheme, method="minmax")
    for kind, mod in (("float32", module), (scheme, quantized)):
        main = relax.VirtualMachine(pipeline.build(mod, x86)[0], tvm.cpu())["main"]
        results = [result.numpy() for result in main(tvm.runtime.tensor(x[:1]))]
        if kind == scheme:
            library = emulation.export(pipeline.build(mod, get_target("rpi4"))[0], tmp_path / "network.so")
            for name, here, there in zip(expected, results, aarch64.run_vm(library, [x[:1]]), strict=True):
                np.testing.assert_array_equal(there, here, name)
        for (name, y), got in zip(expected.items(), results, strict=True):
            assert got.shape == y.shape, (name, kind)
            cosine = np.vdot(got, y) / (np.linalg.norm(got) * np.linalg.norm(y))
            assert cosine > {"float32": 0.9999, "int7": 0.98, "int8": 0.99}[kind], (name, kind, cosine)


# What an input without axes takes part in, and what makes a single number of an activation.
SCALARS = {
    "product": [("Mul", "a s", "y", {})],
    "functions": [("Relu", "s", "t", {}), ("Add", "t s", "u", {}), ("Sigmoid", "u", "v", {}), ("Add", "a v", "y", {})],
    "mean": [("ReduceMean", "a", "t", {"keepdims": 0}), ("Add", "t s", "u", {}), ("Mul", "a u", "y", {})],
    "integer": [("Cast", "s", "t", {"to": 7}), ("Cast", "t", "u", {"to": 1}), ("Mul", "a u", "y", {})],
    "list": [("Reshape", "a n", "t", {}), ("Relu", "t", "u", {}), ("Add", "t u", "v", {}), ("Mul", "v s", "y", {})],
}


@pytest.mark.parametrize("method", ["minmax", "mse+"])
@pytest.mark.parametrize("name", SCALARS)
def test_single_numbers(name, method, tmp_path):
    nodes = [("Conv", "x w", "a", {}), *SCALARS[name]]
    constants = {"w": random(8, 3, 3, 3), "n": I([-1])}
    path = write_model(tmp_path / "model.onnx", nodes, {"x": [1, 3, 6, 6], "s": []}, ["y"], constants)
    x, s = random(8, 3, 6, 6), np.linspace(1, 5, 8, dtype="float32")
    inputs = {"x": x[:1], "s": np.array(s[4])}
    (expected,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    mod, _ = pipeline.calibrate(canonical(path), {"x": x, "s": s}, scheme="int8", method=method)
    main = relax.VirtualMachine(pipeline.build(mod, get_target("x86"))[0], tvm.cpu())["main"]
    result = main(*map(tvm.runtime.tensor, inputs.values())).numpy()
    assert result.shape == expected.shape
    assert np.vdot(result, expected) > 0.999 * np.linalg.norm(result) * np.linalg.norm(expected)


def _write(path, operators):
    """A convolution, and behind it each operator and one more convolution."""
    nodes = [("Conv", "x w", "a", {"pads": [1] * 4}), ("Relu", "a", "r", {})]
    constants = {"w": random(8, 3, 3, 3) * np.float32(0.3)}
    for number, (made, own) in enumerate(operators.values()):
        renamed = {name: f"{name}_{number}" for name in {*own, *(n for _, _, outs, _ in made for n in outs.split())}}
        for kind, ins, outs, attributes in made:
            names = [" ".join(renamed.get(name, name) for name in text.split()) for text in (ins, outs)]
            nodes.append((kind, *names, attributes))
        constants |= {renamed[name]: array for name, array in own.items()}
        nodes.append(("Conv", f"m_{number} last_{number}", f"y_{number}", {}))
        constants[f"last_{number}"] = random(4, _channels(made, own), 1, 1)
    return write_model(path, nodes, {"x": [1, 3, 6, 6]}, [f"y_{n}" for n in range(len(operators))], constants, opset=17)


def _channels(made, own):
    """Of the result `m`, by ONNX's rules."""
    nodes = [helper.make_node(k, [i.strip("-") for i in ins.split()], outs.split(), **a) for k, ins, outs, a in made]
    values = [helper.make_tensor_value_info(name, 1, SHAPE) for name in "ar"]
    result = [helper.make_tensor_value_info("m", 1, None)]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in own.items()]
    graph = helper.make_graph(nodes, "g", values, result, tensors)
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    return model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
