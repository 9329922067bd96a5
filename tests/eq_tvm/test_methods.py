"""What each method records of a calibration, and that commands can print it."""

import json
import platform
from dataclasses import fields

import numpy as np
import pytest
from onnx_models import random, write_model
from tiny import write_tiny

from eq_tvm.building.canonical import import_canonical
from eq_tvm.building.recorded import quantize
from eq_tvm.cli import main
from eq_tvm.cli.report import compile_report
from eq_tvm.example import MODEL
from eq_tvm.methods import METHODS
from eq_tvm.options.declared import QuantizeOptions
from eq_tvm.passes import LayerRecord
from eq_tvm.quantizing.goal import Goal
from eq_tvm.quantizing.quantization import Quantization
from eq_tvm.targets import get_target

MAY_BE_NONE = {"cosine_before", "cosine_after"}


@pytest.fixture(scope="module")
def example():
    return import_canonical(MODEL)


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TVM_NUM_THREADS", "1")

    def run(*arguments):
        code = main([*arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run


def check_analysis(cli, bundle, method):
    """That analyze shows all that is recorded."""
    found = json.loads(cli("analyze", bundle, "--json"))
    assert found["method"] == method and found["layers"]
    text = cli("analyze", bundle)
    for layer in found["layers"]:
        assert set(layer) == {field.name for field in fields(LayerRecord)}
        assert all(value is not None for name, value in layer.items() if name not in MAY_BE_NONE)
        (line,) = (line for line in text.splitlines() if line.startswith(f"{layer['layer']} "))
        assert f"{layer['input_scale']:.6g}" in line and layer["scheme"] in line and layer["op"] in line
        assert layer["cosine_after"] is None or f"{layer['cosine_after']:.4f}" in line


@pytest.mark.parametrize("method", METHODS)
def test_a_bundle_of_the_example(method, example, cli, tiny_executable, tmp_path):
    """The record is the network's; what is compiled is another one, which takes no time."""
    module, inputs, _ = example
    how = Quantization.checked(QuantizeOptions(method=method, images=2))
    _, record, _ = quantize(module, inputs, how, get_target("native"), "speed", Goal(), None, None, lambda *_: None)
    bundle = write_tiny(tmp_path / "digits.eqtvm", tiny_executable, scheme="int7", calibration=record)
    assert len(record["layers"]) == 17
    check_analysis(cli, "digits.eqtvm", method)
    assert f"{method} on 2 images" in compile_report(bundle, 1.0)


@pytest.mark.parametrize("method", ["minmax", "easyquant", None])
def test_compile_and_analyze(method, cli):
    """With no other option but what the network needs."""
    nodes = [("Conv", "x w", "c", {}), ("Relu", "c", "r", {}), ("GlobalAveragePool", "r", "p", {})]
    write_model(
        "net.onnx", [*nodes, ("Flatten", "p", "scores", {})], {"x": [1, 3, 8, 8]}, ["scores"], {"w": random(8, 3, 3, 3)}
    )
    np.savez("images.npz", images=random(4, 3, 8, 8))
    target = "x86" if platform.machine() == "x86_64" else "native"
    options = ("--method", method) if method else ()
    cli("compile", "net.onnx", "--calibration", "images.npz", "--target", target, *options)
    check_analysis(cli, f"net-{target}.eqtvm", method or "mse+")


def test_a_record_that_lacks_entries(cli, tiny_executable, tmp_path):
    """As former versions wrote it."""
    record = {"calibrated": True, "method": "minmax", "activation_range": "unsigned", "images": 2, "source": "x.npz"}
    layers = [{"layer": "first", "op": "conv2d", "input_scale": 0.5, "weight_scales": [1.0]}]
    write_tiny(tmp_path / "old.eqtvm", tiny_executable, scheme="int7", calibration=record | {"layers": layers})
    assert "first  conv2d" in cli("analyze", "old.eqtvm")
