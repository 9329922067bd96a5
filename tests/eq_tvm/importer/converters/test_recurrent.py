"""LSTM, GRU and RNN: all that ONNX defines of them, and networks around them."""

import warnings

import c_programs
import numpy as np
import onnx
import pytest
import tvm
from aarch64 import export
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx_models import canonical, check_against_onnxruntime, operators, random, run_float, write_model
from tvm import relax

from eq_tvm import pipeline
from eq_tvm.errors import UserError
from eq_tvm.importer import import_onnx
from eq_tvm.schedules.operators.recurrence_plan import GATES
from eq_tvm.targets import get_target

OUTPUTS = {"LSTM": "y h c", "GRU": "y h", "RNN": "y h"}

with warnings.catch_warnings():  # collecting computes what all operators are expected to give
    warnings.simplefilter("ignore")
    NODE_TESTS = [case for case in collect_testcases(None) if any(f"_{cell.lower()}_" in case.name for cell in GATES)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def write(
    path,
    cell,
    *,
    steps=5,
    batch=1,
    size=7,
    hidden=6,
    inputs="x w r b",
    outputs=None,
    weights=(),
    scale=0.4,
    **attributes,
):
    """A network of one recurrent layer."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows, first = GATES[cell] * hidden, attributes.get("layout", 0)
    state = (batch, directions, hidden) if first else (directions, batch, hidden)
    operands = {
        "w": random(directions, rows, size, seed=1) * scale,
        "r": random(directions, rows, hidden, seed=2) * scale,
        "b": random(directions, 2 * rows, seed=3) * scale,
        "h0": random(*state, seed=4),
        "c0": random(*state, seed=5),
        "p": random(directions, 3 * hidden, seed=6) * scale,
    } | dict(weights)
    used = {name: array for name, array in operands.items() if name in inputs.split()}
    nodes = [(cell, inputs, outputs or OUTPUTS[cell], {"hidden_size": hidden} | attributes)]
    x = (batch, steps, size) if first else (steps, batch, size)
    return write_model(path, nodes, {"x": x}, [n for n in (outputs or OUTPUTS[cell]).split() if n != "-"], used)


@pytest.mark.parametrize("case", NODE_TESTS, ids=lambda case: case.name)
def test_node_tests_of_onnx(path, case):
    (x, *others), expected = case.data_sets[0]
    names = [value.name for value in case.model.graph.input][1:]
    case.model.graph.initializer.extend(map(numpy_helper.from_array, others, names))
    onnx.save(case.model, path)
    for result, reference in zip(run_float(canonical(path), x), expected, strict=True):
        np.testing.assert_allclose(result, reference, atol=1e-5)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_directions_with_all_that_is_optional(path, cell, direction):
    inputs = {"LSTM": "x w r b - h0 c0 p", "GRU": "x w r b - h0", "RNN": "x w r b - h0"}[cell]
    mod = check_against_onnxruntime(write(path, cell, direction=direction, inputs=inputs, batch=3))
    assert [name for name in operators(mod) if name not in ("reshape", "permute_dims")] == ["matmul", "add", "call_tir"]


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("steps,hidden", [(1, 4), (2, 16), (3, 33), (4, 70)])
def test_sizes(path, cell, steps, hidden):
    check_against_onnxruntime(write(path, cell, steps=steps, hidden=hidden, scale=0.2))


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_layout_with_sequences_first(path, cell, direction):
    """ONNX Runtime has it not: the same as with the axes swapped."""
    x, inputs = random(3, 5, 7), "x w r b l h0"
    how = {"batch": 3, "direction": direction, "inputs": inputs}
    lengths, state = np.array([5, 1, 3], "int32"), random(3, 2 if direction == "bidirectional" else 1, 6)
    first = write(path, cell, layout=1, weights={"l": lengths, "h0": state}, **how)
    y, *states = run_float(canonical(first), x)
    other = write(path, cell, weights={"l": lengths, "h0": np.ascontiguousarray(state.swapaxes(0, 1))}, **how)
    z, *expected = run_float(canonical(other), np.ascontiguousarray(x.swapaxes(0, 1)))
    np.testing.assert_array_equal(y, z.transpose(2, 0, 1, 3))
    for result, reference in zip(states, expected, strict=True):
        np.testing.assert_array_equal(result, reference.swapaxes(0, 1))


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("batch", [2, 3, 4])
def test_batches(path, cell, batch):
    check_against_onnxruntime(write(path, cell, batch=batch, hidden=40, scale=0.2, direction="bidirectional"))


@pytest.mark.parametrize("cell", GATES)
def test_without_biases(path, cell):
    check_against_onnxruntime(write(path, cell, inputs="x w r"))


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("outputs", ["y", "- h", "y -"])
def test_outputs_left_out(path, cell, outputs):
    check_against_onnxruntime(write(path, cell, outputs=outputs))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("inputs", ["x w r b", "x w r"])
def test_gru_that_resets_the_product(path, direction, inputs):
    check_against_onnxruntime(write(path, "GRU", direction=direction, inputs=inputs, linear_before_reset=1))


@pytest.mark.parametrize("cell", GATES)
def test_clip(path, cell):
    check_against_onnxruntime(write(path, cell, scale=2.0, clip=0.3))


def test_clip_is_for_gates_only(path):
    """The state may be larger than that, and what peepholes add is clipped."""
    weights = {"c0": 3 * random(1, 1, 6, seed=5)}
    check_against_onnxruntime(write(path, "LSTM", inputs="x w r b - h0 c0 p", scale=2.0, weights=weights, clip=0.5))


@pytest.mark.parametrize("inputs", ["x w r b", "x w r b - h0 c0 p"])
def test_lstm_with_coupled_gates(path, inputs):
    check_against_onnxruntime(write(path, "LSTM", inputs=inputs, input_forget=1))


ACTIVATIONS = {
    "Affine": (0.5, 0.25),
    "Elu": (0.7, None),
    "HardSigmoid": (0.3, 0.4),
    "LeakyRelu": (0.2, None),
    "Relu": (None, None),
    "ScaledTanh": (1.3, 0.7),
    "Sigmoid": (None, None),
    "Softplus": (None, None),
    "Softsign": (None, None),
    "Tanh": (None, None),
    "ThresholdedRelu": (0.3, None),
}


def activations(*names):
    alphas, betas = ([v for name in names if (v := ACTIVATIONS[name][i]) is not None] for i in range(2))
    given = {"activation_alpha": alphas, "activation_beta": betas}
    return {"activations": names} | {key: value for key, value in given.items() if value}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(path, name):
    check_against_onnxruntime(write(path, "RNN", **activations(name)))


@pytest.mark.parametrize("name", ["HardSigmoid", "LeakyRelu", "Elu"])
def test_default_parameters_of_activations(path, name):
    check_against_onnxruntime(write(path, "RNN", activations=[name]))


def test_directions_have_activations_of_their_own(path):
    names = ("HardSigmoid", "Softsign", "LeakyRelu", "Sigmoid", "Affine", "Elu")
    check_against_onnxruntime(write(path, "LSTM", direction="bidirectional", **activations(*names)))


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_lengths_of_sequences(path, cell, direction):
    lengths = {"l": np.array([5, 1, 3], "int32")}
    check_against_onnxruntime(write(path, cell, batch=3, inputs="x w r b l", weights=lengths, direction=direction))


def test_lengths_that_are_computed(path):
    write(path, "LSTM", batch=3, inputs="x w r b l", outputs="y h c")
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("length", onnx.TensorProto.FLOAT, (3,)))
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["length"], ["l"], to=onnx.TensorProto.INT32))
    onnx.save(model, path)
    x, lengths = random(5, 3, 7), np.array([4, 5, 2], "float32")
    result, *_ = run_float(canonical(path), x, lengths)
    for n, length in enumerate([4, 5, 2]):
        assert np.abs(result[:length, 0, n]).min() > 0 and not result[length:, 0, n].any()


@pytest.mark.parametrize("name", ["w", "r"])
def test_weights_that_are_computed(path, name):
    write(path, "GRU")
    model = onnx.load(path)
    (weights,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, weights.dims))
    model.graph.initializer.remove(weights)
    onnx.save(model, path)
    check_against_onnxruntime(path)


def test_layers_alike_share_a_function(path):
    nodes = [
        ("LSTM", "x w r b", "y - -", {"hidden_size": 6}),
        ("Squeeze", "y one", "s", {}),
        ("LSTM", "s v q b", "z - -", {"hidden_size": 6}),
    ]
    weights = {"w": random(1, 24, 6), "r": random(1, 24, 6, seed=1), "b": random(1, 48, seed=2), "one": np.array([1])}
    weights |= {"v": random(1, 24, 6, seed=3), "q": random(1, 24, 6, seed=4)}
    write_model(path, nodes, {"x": (5, 2, 6)}, ["z"], weights)
    assert len(check_against_onnxruntime(path).functions) == 2  # and main


@pytest.mark.parametrize(
    "wrong,said",
    [
        ({"activations": ["Sigmoid", "Swish"]}, "'Swish'"),
        ({"activations": ["Sigmoid"]}, "1 activations; 2 are needed"),
        ({"weights": {"w": random(1, 17, 7)}}, "'w' has the shape (1, 17, 7); (1, 18, 7)"),
        ({"weights": {"b": random(1, 18)}}, "(1, 36)"),
    ],
)
def test_what_does_not_fit(path, wrong, said):
    write(path, "GRU", **wrong)
    with pytest.raises(UserError) as raised:
        import_onnx(path)
    assert "GRU" in str(raised.value) and said in str(raised.value) and "\n" not in str(raised.value)


HIDDEN, WIDE = 16, 12  # of the network below, and steps of its sequences
STATES = {"hidden_size": HIDDEN, "direction": "bidirectional"}


@pytest.fixture
def recognition(path):
    """Text recognition in small: columns of convolutions' results are the sequence of two bidirectional LSTMs."""
    nodes = [
        ("Conv", "x c d", "conv", {"pads": [1, 1, 1, 1]}),
        ("Relu", "conv", "relu", {}),
        ("MaxPool", "relu", "pool", {"kernel_shape": [8, 2], "strides": [8, 2]}),
        ("Squeeze", "pool two", "lines", {}),
        ("Transpose", "lines", "columns", {"perm": [2, 0, 1]}),
        ("LSTM", "columns w1 r1 b", "y1 - -", STATES),
        ("Transpose", "y1", "t1", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "t1 joined", "z1", {}),
        ("LSTM", "z1 w2 r2 b", "y2 - -", STATES),
        ("Transpose", "y2", "t2", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "t2 rows", "z2", {}),
        ("Gemm", "z2 g", "y", {"transB": 1}),
    ]
    weights = {
        "c": random(24, 1, 3, 3) / 2,
        "d": random(24, seed=1) / 4,
        "w1": random(2, 4 * HIDDEN, 24, seed=2) / 5,
        "w2": random(2, 4 * HIDDEN, 2 * HIDDEN, seed=3) / 4,
        "r1": random(2, 4 * HIDDEN, HIDDEN, seed=4) / 4,
        "r2": random(2, 4 * HIDDEN, HIDDEN, seed=5) / 4,
        "b": random(2, 8 * HIDDEN, seed=6) / 4,
        "g": random(11, 2 * HIDDEN, seed=7),
        "two": np.array([2]),
        "joined": np.array([0, 0, -1]),
        "rows": np.array([-1, 2 * HIDDEN]),
    }
    write_model(path, nodes, {"x": (1, 1, 8, 2 * WIDE)}, ["y"], weights)
    return check_against_onnxruntime(path)


IMAGE = random(1, 1, 8, 2 * WIDE, seed=9)


def test_text_recognition_on_arm(recognition, tmp_path, aarch64):
    (expected,) = run_float(recognition, IMAGE)
    library = export(pipeline.build(recognition, get_target("rpi4"))[0], tmp_path / "network.so")
    np.testing.assert_allclose(aarch64.run_vm(library, [IMAGE])[0], expected, atol=1e-5)


@pytest.mark.parametrize("target,cpu", [("x86", None), ("rpi2-32", "cortex-a7")])
def test_text_recognition_as_a_library(recognition, tmp_path, target, cpu):
    (expected,) = run_float(recognition, IMAGE)
    library = c_programs.write(recognition, target, tmp_path / "library")
    for threads in (1, 3):
        (result,), _ = c_programs.run(library, get_target(target), [IMAGE], threads=threads, cpu=cpu)
        np.testing.assert_allclose(result.reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("scheme", ["int7", "int8"])
@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_quantized_text_recognition(recognition, scheme, method):
    """All that has weights becomes integer, but for the products with the state."""
    (expected,) = run_float(recognition, IMAGE)
    images = {"x": random(8, 1, 8, 2 * WIDE, seed=10)}
    annotated, record = pipeline.calibrate(recognition, images, scheme=scheme, method=method)
    assert [layer.op for layer in record] == ["conv2d", "dense", "dense", "dense"]
    built, _ = pipeline.build(annotated, get_target("x86"))
    result = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(IMAGE)).numpy()
    assert (result * expected).sum() > 0.99 * np.sqrt((result**2).sum() * (expected**2).sum())
