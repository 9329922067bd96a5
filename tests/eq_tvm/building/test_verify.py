"""What is imported is compared with what the file says."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx_models import random, write_model
from tvm import relax

import eq_tvm
from eq_tvm.building import verify as verification
from eq_tvm.building.canonical import import_canonical
from eq_tvm.building.verify import verify
from eq_tvm.errors import UserError
from eq_tvm.importer.converters import CONVERTERS
from eq_tvm.passes.lower.rules.table import RULES

NODES = [("Conv", "x w", "c", {}), ("Elu", "c", "e", {}), ("Sigmoid", "e", "y", {})]


@pytest.fixture
def path(tmp_path):
    return write_model(tmp_path / "m.onnx", NODES, {"x": (1, 4, 8, 8)}, ["y"], {"w": random(6, 4, 3, 3)})


def check(path, **options):
    module, _, outputs = import_canonical(path)
    return verify(path, module, outputs, {"x": random(1, 4, 8, 8)}, None, None, **{"always": True} | options).said


def test_right(path):
    assert check(path) == "verified with ONNX Runtime"


def test_the_first_wrong_node_is_named(path, monkeypatch):
    monkeypatch.setitem(CONVERTERS, "Elu", lambda call: relax.op.nn.relu(call.inputs[0]))
    with pytest.raises(UserError, match=r"the first that does is Elu \(node 'n1'\).*--no-verify"):
        check(path)


def test_a_constant_among_the_outputs(path):
    constants = {"w": random(6, 4, 3, 3), "priors": random(3, 4)}
    nodes = [*NODES, ("Identity", "priors", "z", {})]
    write_model(path, nodes, {"x": (1, 4, 8, 8)}, ["z", "y"], constants)
    assert check(path) == "verified with ONNX Runtime"


def test_an_output_twice(path):
    write_model(path, NODES, {"x": (1, 4, 8, 8)}, ["y", "y"], {"w": random(6, 4, 3, 3)})
    assert check(path) == "verified with ONNX Runtime"


def test_rows_that_the_data_choose(path):
    nodes = [*NODES, ("Greater", "y half", "g", {}), ("NonZero", "g", "n", {}), ("Cast", "n", "z", {"to": 1})]
    constants = {"w": random(6, 4, 3, 3), "half": np.float32(0.5)}
    write_model(path, nodes, {"x": (1, 4, 8, 8)}, ["z"], constants)
    assert check(path) == "verified with ONNX Runtime"


def test_a_network_that_enlarges_roundings(path):
    nodes = [("Conv", "x w", "c", {}), ("Mul", "c large", "m", {}), ("Sin", "m", "y", {})]
    large = {"w": random(6, 4, 3, 3), "large": np.float32(3e3)}
    write_model(path, nodes, {"x": (1, 4, 8, 8)}, ["y"], large)
    assert "the network itself enlarges roundings" in check(path)


def test_a_quantized_network_that_enlarges_roundings(path):
    """Its input loses its last bits."""
    nodes = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("Conv", "d w", "c", {}),
        ("Mul", "c large", "m", {}),
        ("Sin", "m", "y", {}),
    ]
    constants = {"w": random(6, 4, 3, 3), "large": np.float32(3e3), "s": np.float32(0.03), "z": np.uint8(128)}
    write_model(path, nodes, {"x": (1, 4, 8, 8)}, ["y"], constants)
    assert "the network itself enlarges roundings" in check(path)


def test_without_onnxruntime(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert check(path) == "verified with onnx's reference evaluator"


def test_what_takes_long_is_left_out(path, monkeypatch):
    monkeypatch.setattr(verification, "_AFFORDABLE", 0.0)
    assert "--verify does it" in check(path, always=False)


def test_a_wrong_type_is_refused_while_importing(path, monkeypatch):
    monkeypatch.setitem(CONVERTERS, "Elu", lambda call: relax.op.astype(call.inputs[0], "float16"))
    with pytest.raises(UserError, match=r"Elu \(node 'n1'\): TVM makes float16 .* where ONNX says float32"):
        import_canonical(path)


def test_what_is_compiled_is_compared_too(path, tmp_path, monkeypatch):
    """Where it is float32, and runs here."""
    write_model(path, [*NODES[:1], ("Relu", "c", "y", {})], {"x": (1, 4, 8, 8)}, ["y"], {"w": random(6, 4, 3, 3)})
    monkeypatch.setitem(RULES, "relax.nn.relu", lambda low, call: low.value(call.args[0]))
    with pytest.raises(UserError, match=r"compiled, the network computes something else than imported"):
        eq_tvm.compile(path, scheme="float32", output=tmp_path / "net.eqtvm")
    assert not (tmp_path / "net.eqtvm").exists()


def test_outputs_that_are_almost_zero(path):
    """A detector that sees nothing."""
    write_model(
        path,
        [("Conv", "x w b", "c", {}), ("Sigmoid", "c", "y", {})],
        {"x": (1, 4, 8, 8)},
        ["y"],
        {"w": random(6, 4, 3, 3) / 10, "b": np.full(6, -14, np.float32)},
    )
    assert check(path).startswith("verified with ONNX Runtime")


def test_what_a_converter_leaves_of_constants(path):
    nodes = [*NODES, ("ArgMax", "y", "i", {"axis": 1, "keepdims": 0}), ("OneHot", "i depth values", "z", {"axis": 1})]
    constants = {"w": random(6, 4, 3, 3), "depth": np.int64(6), "values": np.float32([0, 2])}
    write_model(path, nodes, {"x": (1, 4, 8, 8)}, ["z"], constants)
    assert check(path) == "verified with ONNX Runtime"


def test_threads_take_turns(path, tmp_path):
    def compiled(number):
        return eq_tvm.compile(path, scheme="float32", output=tmp_path / f"{number}.eqtvm").outputs

    with ThreadPoolExecutor() as threads:
        assert len(set(threads.map(compiled, range(3)))) == 1


def test_an_input_of_one_number(path, tmp_path):
    said = []
    nodes = [*NODES[:1], ("Mul", "c s", "y", {})]
    write_model(path, nodes, {"x": (1, 4, 8, 8), "s": ()}, ["y"], {"w": random(6, 4, 3, 3)})
    eq_tvm.compile(
        path, scheme="float32", output=tmp_path / "net.eqtvm", progress=lambda done, message: said.append(message)
    )
    assert "verified with ONNX Runtime" in said
