"""Layers that the canonical form makes of others: 1-D, transposed, of tokens, of two activations; in integers, exactly.

Compiled networks equal the interpreter, on this machine and on an emulated board, and are close to ONNX Runtime.
"""

import functools

import aarch64 as emulation
import numpy as np
import onnxruntime
import pytest
import tvm
from covering import covering
from interpreter import run_annotated
from onnx_models import canonical, random, write_model
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.passes.graph.network import read_network
from eq_tvm.targets import get_target

I = np.int64  # noqa: E741


def scaled(*shape, seed=0):
    """Weights that keep the size of what they are applied to."""
    return random(*shape, seed=seed) / np.float32(np.sqrt(np.prod(shape[1:])))


def conv(name, x, y, weights, **attributes):
    kernel = attributes.pop("kernel")
    weights[name] = scaled(*kernel, seed=len(weights))
    return ("Conv", f"{x} {name}", y, {"pads": [size // 2 for size in kernel[2:]] * 2} | attributes)


def transposed_between_convolutions(weights):
    weights |= {"t": scaled(12, 20, 2, 2), "tb": scaled(20), "u": scaled(6, 3, 4, 4), "slope": np.abs(random(6, 1, 1))}
    return (1, 3, 9, 8), [
        conv("a", "x", "a1", weights, kernel=(12, 3, 3, 3)),
        ("Relu", "a1", "a2", {}),
        ("ConvTranspose", "a2 t tb", "t1", {"strides": [2, 2]}),
        ("Relu", "t1", "t2", {}),
        conv("b", "t2", "b1", weights, kernel=(6, 20, 3, 3)),
        ("PRelu", "b1 slope", "b2", {}),
        ("ConvTranspose", "b2 u", "u1", {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 2}),
        conv("c", "u1", "y", weights, kernel=(2, 6, 1, 1)),
    ]


def one_dimension(weights):
    weights |= {"t": scaled(16, 5, 6), "d": scaled(5, 4)}
    return (1, 2, 60), [
        conv("a", "x", "a1", weights, kernel=(16, 2, 7), strides=[2]),
        ("Relu", "a1", "a2", {}),
        ("MaxPool", "a2", "p", {"kernel_shape": [3], "strides": [2]}),
        conv("b", "p", "b1", weights, kernel=(16, 1, 3), group=16),
        ("Add", "b1 p", "s", {}),
        ("Relu", "s", "r", {}),
        ("ConvTranspose", "r t", "t1", {"strides": [3]}),
        ("GlobalAveragePool", "t1", "g", {}),
        ("Flatten", "g", "f", {}),
        ("MatMul", "f d", "y", {}),
    ]


def tokens(weights):
    weights |= {"s": I([1, 24, -1]), "m": scaled(24, 40), "mb": scaled(40), "n": scaled(40, 24), "w": scaled(25, 30)}
    weights |= {"image": I([1, 24, 6, 5])}
    return (1, 3, 20, 20), [
        conv("a", "x", "a1", weights, kernel=(24, 3, 4, 4), strides=[4, 4], pads=[0] * 4),
        ("Reshape", "a1 s", "a2", {}),
        ("Transpose", "a2", "t", {"perm": [0, 2, 1]}),
        ("MatMul", "t m", "m1", {}),
        ("Add", "mb m1", "m2", {}),
        ("Relu", "m2", "m3", {}),
        ("MatMul", "m3 n", "n1", {}),
        ("Add", "n1 t", "n2", {}),
        ("Transpose", "n2", "n3", {"perm": [0, 2, 1]}),
        ("MatMul", "n3 w", "w1", {}),
        ("Reshape", "w1 image", "w2", {}),
        conv("b", "w2", "y", weights, kernel=(4, 24, 1, 1)),
    ]


def heads(weights, queries=True):
    weights |= {"s": I([1, 3, 8, 25]), "back": I([1, 25, 24]), "o": scaled(24, 24), "half": np.float32(0.5)}
    return (1, 3, 20, 20), [
        conv("q", "x", "q1", weights, kernel=(24, 3, 4, 4), strides=[4, 4], pads=[0] * 4),
        conv("k", "x", "k1", weights, kernel=(24, 3, 4, 4), strides=[4, 4], pads=[0] * 4),
        conv("v", "x", "v1", weights, kernel=(24, 3, 4, 4), strides=[4, 4], pads=[0] * 4),
        ("Relu", "v1", "v2", {}),
        ("Reshape", "q1 s", "q2", {}),
        ("Reshape", "k1 s", "k3", {}),
        ("Reshape", "v2 s", "v3", {}),
        ("Transpose", "q2", "q3", {"perm": [0, 1, 3, 2]}),
        ("Transpose", "v3", "v4", {"perm": [0, 1, 3, 2]}),
        ("MatMul", "q3 k3", "scores", {}),
        ("Mul", "scores half", "scores2", {}),
        ("MatMul", "scores2 v4", "mixed", {}),
        ("Transpose", "mixed", "m2", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "m2 back", "m3", {}),
        ("MatMul", "m3 o", "y", {}),
    ]


def shuffled(weights):
    weights |= {"s": I([1, 2, 8, 6, 5]), "back": I([1, 16, 6, 5])}
    return (1, 3, 6, 5), [
        conv("a", "x", "a1", weights, kernel=(16, 3, 3, 3)),
        ("Relu", "a1", "a2", {}),
        ("Reshape", "a2 s", "g", {}),
        ("Transpose", "g", "h", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", "h back", "i", {}),
        ("Split", "i", "j k", {"axis": 1}),
        conv("b", "j", "b1", weights, kernel=(8, 1, 3, 3), group=8),
        ("Concat", "b1 k", "c", {"axis": 1}),
        conv("d", "c", "d1", weights, kernel=(12, 16, 1, 1)),
        ("DepthToSpace", "d1", "e", {"blocksize": 2, "mode": "CRD"}),
        ("Relu", "e", "y", {}),
    ]


NETWORKS = [transposed_between_convolutions, one_dimension, tokens, heads, shuffled]


@functools.cache
def annotated(make, folder, scheme):
    weights = {}
    shape, nodes = make(weights)
    path = write_model(folder / f"{make.__name__}.onnx", nodes, {"x": shape}, ["y"], weights, opset=13)
    module, images = canonical(path), random(6, *shape)
    return path, images, pipeline.calibrate(module, {"x": images[:, 0]}, scheme=scheme)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@pytest.mark.parametrize(
    "make, scheme", covering(NETWORKS, ["int8", "int7"]), ids=lambda value: getattr(value, "__name__", value)
)
def test_equal_to_the_interpreter_and_close_to_onnx_runtime(folder, make, scheme):
    path, images, module = annotated(make, folder, scheme)
    function = relax.VirtualMachine(pipeline.build(module, get_target("native"))[0], tvm.cpu())["main"]
    result = function(tvm.runtime.tensor(images[0])).numpy()
    np.testing.assert_array_equal(result, run_annotated(module, {"x": images[0]})[0], strict=True)
    expected = onnxruntime.InferenceSession(path).run(None, {"x": images[0]})[0]
    cosine = np.vdot(result, expected) / np.linalg.norm(result) / np.linalg.norm(expected)
    assert cosine > {"int7": 0.985, "int8": 0.995}[scheme]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_no_layer_stays_float(folder, make):
    path, _, _ = annotated(make, folder, "int7")
    nodes = read_network(canonical(path)).nodes
    assert not [node.name for node in nodes if node.op == "float"]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_equal_on_a_board(folder, make, aarch64):
    _, images, module = annotated(make, folder, "int7")
    library = emulation.export(pipeline.build(module, get_target("rpi4"))[0], folder / f"{make.__name__}.so")
    (result,) = aarch64.run_vm(library, [images[0]])
    np.testing.assert_array_equal(result, run_annotated(module, {"x": images[0]})[0], strict=True)


@pytest.mark.parametrize(
    "layer, shape, weights",
    [("Conv", (1, 3, 8, 8), (4, 3, 3, 3)), ("MatMul", (2, 6), (6, 4))],
)
@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_a_constant_with_more_axes_than_the_layer(layer, shape, weights, operator, tmp_path):
    """It is no bias, though it has a number for each channel: the result has its rank."""
    constant = random(1, 4, 1, 1) if layer == "Conv" else random(4)
    values = {"w": scaled(*weights), "c": constant.reshape((1, 1, *constant.shape))}
    nodes = [(layer, "x w", "a", {}), (operator, "a c", "b", {}), ("Relu", "b", "y", {})]
    path = write_model(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], values)
    module, image = canonical(path), random(*shape)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": image})
    main = relax.VirtualMachine(pipeline.build(module, get_target("native"))[0], tvm.cpu())["main"]
    np.testing.assert_allclose(main(tvm.runtime.tensor(image)).numpy(), expected, 1e-5, 1e-5, strict=True)
