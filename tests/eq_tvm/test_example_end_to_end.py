"""The embedded example from `python -m eq_tvm compile` to its results, on defaults alone."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import eq_tvm
from eq_tvm import example
from eq_tvm.artifacts.bundle import read
from eq_tvm.cli.program import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory in which the example was compiled for this machine."""
    path = tmp_path_factory.mktemp("example")
    result = eq_tvm_in(path, "compile")
    assert "python -m eq_tvm evaluate digits-native.eqtvm" in result.stdout
    assert [p.name for p in path.iterdir()] == ["digits-native.eqtvm"]
    return path


def eq_tvm_in(path, *arguments):
    command = [sys.executable, "-m", "eq_tvm", *arguments]
    result = subprocess.run(command, cwd=path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    return result


def test_every_command_on_its_defaults(folder):
    """With nothing but what it can't do without: compile and evaluate above and below, the others here."""
    bundle = "digits-native.eqtvm"
    np.save(folder / "image.npy", np.load(example.EVAL)["images"][0])
    others = {
        "analyze": ([], "digits, int7, mse+ on 50 images of digits_calibration.npz, analyzed on 14 others: "),
        "bench": ([bundle], "median "),
        "compare": ([bundle, "--data", example.EVAL], "network "),
        "doctor": ([], "python          ok  "),
        "export": ([bundle], "written: digits.qdq.onnx\n"),
        "pack": ([bundle], "written: digits-native.tar.gz "),
        "report": ([bundle], "written: digits-native.html\n"),
        "run": ([bundle, "--input", "image.npy"], "image.npy\n  logits\n"),
        "targets": ([], "x86 "),
        "verify": ([bundle], "files        model.so, network.onnx, bundle.json: as noted (SHA-256)\n"),
    }
    commands = {command.callback.__name__ for command in app.registered_commands}
    elsewhere = {"deploy", "train"}  # they need a board and PyTorch: test_deploy.py, test_train.py
    assert commands == {"compile", "evaluate", *elsewhere, *others}
    for command, (arguments, beginning) in others.items():
        out = eq_tvm_in(folder, command, *arguments).stdout
        assert out.startswith(beginning), out
    assert re.match(r"digits, (int|w)\d", eq_tvm_in(folder, "analyze", bundle).stdout)  # by what layers cost here
    assert "top-1" in eq_tvm_in(folder, "evaluate", bundle).stdout


def test_it_knows_the_digits(folder):
    result = json.loads(eq_tvm_in(folder, "evaluate", "digits-native.eqtvm", "--json").stdout)
    assert result["n"] == 240
    assert result["top1"] > 0.97 and result["agreement"] > 0.98 and result["cosine"] > 0.998


def test_the_api_gives_the_same(folder):
    model = eq_tvm.load(folder / "digits-native.eqtvm")
    image = np.load(example.EVAL)["images"][5]
    np.savez(folder / "image.npz", images=image[np.newaxis])
    eq_tvm_in(folder, "run", "digits-native.eqtvm", "--input", "image.npz", "--output", "scores.npz")
    np.testing.assert_array_equal(np.load(folder / "scores.npz")["logits"], model.run(image)["logits"])


def test_every_layer_has_a_record(folder):
    bundle = read(folder / "digits-native.eqtvm")
    assert bundle.is_example and bundle.calibrated
    layers = bundle.calibration["layers"]
    assert len(layers) >= 10 and all(0.9 < layer["cosine_after"] <= 1 for layer in layers)


def test_float32_needs_no_calibration(tmp_path):
    bundle = eq_tvm.compile(scheme="float32", output=tmp_path / "float.eqtvm")
    assert bundle.calibration is None
    logits = eq_tvm.load(bundle).run(np.load(example.EVAL)["images"][0])["logits"]
    assert logits.shape == (1, 10) and logits.argmax() == np.load(example.EVAL)["labels"][0]
