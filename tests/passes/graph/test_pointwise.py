"""Activation functions on integers: from ONNX to tables, equal to the interpreter, and no float tensor in between."""

import math

import integer_functions
import numpy as np
import pytest
import tvm
from aarch64 import export
from interpreter import run_annotated
from onnx_models import canonical, write_model
from small_networks import build, conv, pairs, random, run
from tvm import relax

from eq_tvm import passes, pipeline
from eq_tvm.passes.graph.network import read_network
from eq_tvm.passes.graph.pointwise import FUNCTIONS, evaluate
from eq_tvm.passes.graph.rewrite import operator_name, rewrite
from eq_tvm.schedules.processor.machine import Machine
from eq_tvm.targets import get_target

FEW = passes.Candidates(count=5)

WEIGHTS = {"w": random(8, 3, 3, 3) / 3, "b": random(8), "v": random(4, 8, 3, 3, seed=1), "slope": np.float32([0.25])}
WEIGHTS |= {"zero": np.float32(0), "three": np.float32(3), "six": np.float32(6), "sixth": np.float32(1 / 6)}
CONV, LAST = ("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]}), ("Conv", "d v", "y", {})
ACTIVATIONS = {
    "sigmoid": [("Sigmoid", "c", "d", {})],
    "tanh": [("Tanh", "c", "d", {})],
    "silu": [("Sigmoid", "c", "e", {}), ("Mul", "c e", "d", {})],
    "silu, operands swapped": [("Sigmoid", "c", "e", {}), ("Mul", "e c", "d", {})],
    "hard sigmoid": [("Relu", "c", "e", {}), ("HardSigmoid", "e", "d", {})],
    "hard swish": [("HardSwish", "c", "d", {})],
    "hard swish of a hard sigmoid": [("HardSigmoid", "c", "e", {"alpha": 1 / 6}), ("Mul", "c e", "d", {})],
    "hard swish step by step": [
        ("Add", "c three", "e", {}),
        ("Clip", "e zero six", "f", {}),
        ("Mul", "c f", "g", {}),
        ("Div", "g six", "d", {}),
    ],
    "hard swish as PyTorch writes it": [
        ("Add", "c three", "e", {}),
        ("Clip", "e zero six", "f", {}),
        ("Mul", "f sixth", "g", {}),
        ("Mul", "c g", "d", {}),
    ],
    "leaky relu": [("LeakyRelu", "c", "d", {"alpha": 0.1})],
    "prelu of one slope": [("PRelu", "c slope", "d", {})],
    "elu": [("Elu", "c", "d", {"alpha": 0.5})],
    "selu": [("Selu", "c", "d", {})],
    "gelu": [("Gelu", "c", "d", {})],
    "gelu by tanh": [("Gelu", "c", "d", {"approximate": "tanh"})],
    "mish": [("Softplus", "c", "e", {}), ("Tanh", "e", "f", {}), ("Mul", "c f", "d", {})],
    "softsign": [("Softsign", "c", "d", {})],
    "several in a row": [("Tanh", "c", "e", {}), ("Sigmoid", "e", "f", {}), ("Mul", "f six", "d", {})],
}


@pytest.fixture(params=ACTIVATIONS)
def module(request, tmp_path):
    """A convolution, the activation and another convolution, as the importer and the canonical passes make them."""
    nodes = [CONV, *ACTIVATIONS[request.param], LAST]
    return canonical(write_model(tmp_path / "m.onnx", nodes, {"x": [1, 3, 8, 8]}, ["y"], WEIGHTS, opset=20))


def test_a_table_between_two_layers(module):
    images = random(6, 3, 8, 8)
    annotated = passes.MinMaxCalibrate({"x": images})(module)
    found = pairs(annotated)
    assert len(found) == 3 and list(found.values())[1][:3] in [("int8", -127, 127), ("uint8", 0, 255)]
    assert _is_integer_up_to_the_last_layer(annotated)
    (expected,) = run_annotated(annotated, {"x": images[:1]})
    np.testing.assert_array_equal(_run(annotated, images[:1]), expected, strict=True)
    simulated, real = run(annotated, images[:1]), run(module, images[:1])
    np.testing.assert_allclose(expected, simulated, atol=0.02 * np.abs(simulated).max())
    assert np.vdot(expected, real) > 0.99 * np.linalg.norm(expected) * np.linalg.norm(real)


def test_every_target_and_scheme(aarch64, tmp_path):
    """One network of many activations, with a residual add and a concatenation behind them."""
    module, images = build(_activations), random(6, 3, 8, 8)
    for scheme in ("int7", "int8"):
        annotated = passes.EasyQuantCalibrate({"x": images}, scheme=scheme, weights=FEW, activations=FEW)(module)
        expected = run_annotated(annotated, {"x": images[:1]})
        np.testing.assert_array_equal(_run(annotated, images[:1]), expected[0], strict=True)
        library = export(pipeline.build(annotated, get_target("rpi4"))[0], tmp_path / "network.so")
        np.testing.assert_array_equal(aarch64.run_vm(library, [images[:1]])[0], expected[0], strict=True)


def _activations(emit, x):
    def act(y, name):
        return emit(getattr(relax.op.nn, name)(y), name)

    a = act(conv(emit, x, "a", out=8), "silu")
    b = conv(emit, a, "bb", out=8)
    b = emit(relax.op.multiply(b, emit(relax.op.sigmoid(b), "sigmoid")), "swish")
    total = emit(relax.op.add(a, b), "sum")
    pooled = emit(relax.op.nn.max_pool2d(total, (2, 2), (2, 2)), "pool")
    c, d = act(pooled, "gelu"), emit(relax.op.nn.leakyrelu(conv(emit, pooled, "ccc", out=8), 0.1), "leaky")
    return [conv(emit, emit(relax.op.concat([c, d], 1), "joined"), "last")]


SQUEEZE_AND_EXCITE = [
    CONV,
    ("Sigmoid", "c", "e", {}),
    ("Mul", "c e", "d", {}),
    ("GlobalAveragePool", "d", "p", {}),
    ("Conv", "p narrow", "n", {}),
    ("Relu", "n", "r", {}),
    ("Conv", "r wide", "g", {}),
    ("HardSigmoid", "g", "gate", {}),
    ("Mul", "gate d", "m", {}),
    ("Conv", "m v", "y", {}),
]


@pytest.mark.parametrize("kind", ["Sigmoid", "HardSigmoid"])
def test_squeeze_and_excite(tmp_path, aarch64, kind):
    nodes = [(kind, *node[1:]) if node[0] == "HardSigmoid" else node for node in SQUEEZE_AND_EXCITE]
    weights = WEIGHTS | {"narrow": random(2, 8, 1, 1), "wide": random(8, 2, 1, 1, seed=2)}
    module = canonical(write_model(tmp_path / "m.onnx", nodes, {"x": [1, 3, 9, 8]}, ["y"], weights))
    images = random(6, 3, 9, 8)
    for scheme in ("int7", "int8"):
        annotated = passes.EasyQuantCalibrate({"x": images}, scheme=scheme, weights=FEW, activations=FEW)(module)
        found = pairs(annotated)
        assert found["n2"][:3] == found["n7"][:3] == ("uint8", 0, 255)
        bindings = passes.LowerToInteger(Machine({"smlal": 8.0}))(annotated)["main"].body.blocks[0].bindings
        real = [str(b.var.ty.dtype) == "float32" for b in bindings]
        assert all(real[real.index(True) :]) and "multiply" in str(bindings)
        (expected,) = run_annotated(annotated, {"x": images[:1]})
        np.testing.assert_array_equal(_run(annotated, images[:1]), expected, strict=True)
        library = export(pipeline.build(annotated, get_target("rpi4"))[0], tmp_path / "network.so")
        np.testing.assert_array_equal(aarch64.run_vm(library, [images[:1]])[0], expected, strict=True)
        real = run(module, images[:1])
        assert np.vdot(expected, real) > 0.99 * np.linalg.norm(expected) * np.linalg.norm(real)


def test_products_of_two_layers():
    """Bounded, quantized and left as float32."""

    def make(emit, x):
        a, b = conv(emit, x, "a"), emit(relax.op.sigmoid(conv(emit, x, "bb")), "s")
        gated = emit(relax.op.nn.relu(emit(relax.op.multiply(a, b), "gate")), "bounded")
        other = emit(relax.op.multiply(a, emit(relax.op.tanh(gated), "t")), "other")
        return [conv(emit, gated, "last"), conv(emit, other, "ll"), emit(relax.op.multiply(a, b), "output")]

    annotated, x = passes.MinMaxCalibrate({"x": random(4, 3, 8, 8)})(build(make)), random(1, 3, 8, 8)
    assert set(pairs(annotated)) == {"x", "a_sum", "bb_sum", "s", "bounded", "other", "t"}
    for got, expected in zip(_run(annotated, x), run_annotated(annotated, {"x": x}), strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)


def test_a_result_that_leaves_the_integers():
    """The same float32 on every target."""

    def make(emit, x):
        y = emit(relax.op.nn.relu(conv(emit, x, "a")), "r")
        return [emit(relax.op.sigmoid(y), "sigmoid"), conv(emit, y, "bb")]

    annotated, x = passes.MinMaxCalibrate({"x": random(4, 3, 8, 8)})(build(make)), random(1, 3, 8, 8)
    for got, expected in zip(_run(annotated, x), run_annotated(annotated, {"x": x}), strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("operator", [relax.op.log, relax.op.sqrt])
def test_what_has_no_finite_result(operator):
    """NaN becomes 0, infinity the end of the range. (Calibration refuses them: another function's scales are taken.)"""
    mod = build(lambda emit, x: [conv(emit, emit(relax.op.abs(conv(emit, x, "a")), "root"), "last")])
    annotated, x = passes.MinMaxCalibrate({"x": random(4, 3, 8, 8)})(mod), random(1, 3, 8, 8)
    replaced = rewrite(
        annotated,
        lambda _graph, var, value: {var: operator(value.args[0])} if operator_name(value) == "relax.abs" else None,
    )
    np.testing.assert_array_equal(_run(replaced, x), run_annotated(replaced, {"x": x})[0], strict=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_those_of_relax(name):
    """In float32 (as calibration computes them), in float64, and as the interpreter has them."""
    x, y = np.abs(random(1, 4, 16)) + 0.1, random(1, 4, 16, seed=1)
    operator = getattr(relax.op.nn if ".nn." in name else relax.op, name.split(".")[-1])
    operands, extra = [x if name in ("relax.log", "relax.sqrt", "relax.power") else 3 * y], ()
    if name in integer_functions.BINARY:
        operands.append(np.float32([1.5]) if "prelu" in name else x)
        extra = (1,) if "prelu" in name else ()
    if name == "relax.nn.leakyrelu":
        extra = (0.1,)
    mod = build(lambda emit, v: [emit(operator(v, *map(relax.const, operands[1:]), *extra), "f")], (1, 4, 16))
    expected = run(mod, operands[0])
    call = read_network(mod).nodes[1].expr
    reference = integer_functions.UNARY | integer_functions.BINARY
    reference["relax.nn.leakyrelu"] = lambda v: integer_functions.leaky(v, 0.1)
    wide = [operand.astype("float64") for operand in operands]
    for got in (evaluate(call, *operands), evaluate(call, *wide), reference[name](*wide)):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)
    assert evaluate(call, *operands).dtype == np.float32 and evaluate(call, *wide).dtype == np.float64


def _is_integer_up_to_the_last_layer(annotated):
    bindings = passes.LowerToInteger(Machine({"smlal": 8.0}))(annotated)["main"].body.blocks[0].bindings
    called = [b.value.args[0].name_hint for b in bindings if operator_name(b.value) == "relax.call_tir"]
    real = [str(b.var.ty.dtype) == "float32" for b in bindings]
    kernels = ["quantize", "conv3x3", "lookup", "conv3x3", "transpose"]
    return [name.split("_")[0] for name in called] == kernels and all(real[real.index(True) :])


def _run(mod, images):
    main = relax.VirtualMachine(pipeline.build(mod, get_target("x86"))[0], tvm.cpu())["main"]
    result = main(tvm.runtime.tensor(images))
    return result.numpy() if isinstance(result, tvm.runtime.Tensor) else [field.numpy() for field in result]


def test_the_error_function_of_float32():
    x = np.linspace(-6, 6, 10001).astype(np.float32)
    call = relax.op.erf(relax.Var("x", relax.TensorType(x.shape, "float32")))
    found = evaluate(call, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [math.erf(each) for each in x], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(evaluate(call, np.float32([-np.inf, 0, np.inf])), [-1, 0, 1])
