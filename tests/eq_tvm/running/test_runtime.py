"""Loading and running bundles."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tvm
from tiny import SHAPE, write_tiny
from tvm import relax

import eq_tvm
from eq_tvm import host
from eq_tvm.errors import UserError
from eq_tvm.running import runtime

X = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)


def test_run(tiny):
    model = eq_tvm.load(tiny)
    for given in (X, X[0], {"x": X}):
        outputs = model.run(given)
        assert list(outputs) == ["mean", "y"]
        np.testing.assert_array_equal(outputs["y"], np.maximum(-X, 0))
        np.testing.assert_allclose(outputs["mean"], np.maximum(-X, 0).mean((2, 3)), rtol=1e-6)


def test_run_on_pixels(tiny):
    image = np.random.default_rng(1).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    y = eq_tvm.load(tiny.path).run(image)["y"]
    np.testing.assert_allclose(y[0], np.maximum((100.0 - image) / 10, 0).transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": X}, "the network's inputs are x, not z"),
        ({}, "the network's inputs are x, not none"),
        (X[:, :, :5], r"input x becomes an input of shape \(1, 3, 5, 4\), but the network takes \(1, 3, 6, 4\)"),
        (X.astype(np.complex64), "input x is complex64, but the network takes float32"),
        (X * np.float32(np.inf), "input x contains NaN or infinity"),
        ([[1, 2], [3, 4]], r"input x becomes an input of shape \(2, 2\), but the network takes"),
    ],
)
def test_wrong_inputs(tiny, inputs, message):
    with pytest.raises(UserError, match=message):
        eq_tvm.load(tiny).run(inputs)


def multiplier(factor):
    """An executable that multiplies by a number."""
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [x]):
        y = builder.emit(relax.op.multiply(x, relax.const(factor, "float32")))
        builder.emit_func_output(relax.Tuple([y, y]))
    return tvm.compile(builder.get(), target=tvm.target.Target("llvm"))


def test_what_is_written_again_is_loaded_anew(tmp_path):
    loaded = []
    for factor in (2, 3):
        write_tiny(tmp_path / "b", multiplier(factor))
        loaded.append(eq_tvm.load(tmp_path / "b"))
    for factor, model in zip((2, 3), loaded, strict=True):
        np.testing.assert_array_equal(model.run(X)["y"], factor * X)
    assert [file.name for file in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_only_read(tiny):
    tiny.path.chmod(0o555)
    try:
        assert list(eq_tvm.load(tiny.path).run(X)) == ["mean", "y"]
    finally:
        tiny.path.chmod(0o755)


def test_a_system_that_is_only_read(tiny, monkeypatch):
    def refuse(**_):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(runtime.tempfile, "TemporaryDirectory", refuse)
    assert list(eq_tvm.load(tiny.path).run(X)) == ["mean", "y"]


def test_threads_take_turns(tiny):
    model = eq_tvm.load(tiny)
    images = [X * k for k in range(8)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda x: [model.run(x)["y"] for _ in range(40)], images))
    for x, runs in zip(images, results, strict=True):
        for y in runs:
            np.testing.assert_array_equal(y, np.maximum(-x, 0))


def test_a_bundle_for_another_architecture(tmp_path, tiny_executable):
    foreign = "x86" if host.platform.machine() == "aarch64" else "rpi4"
    bundle = write_tiny(tmp_path / "foreign.eqtvm", tiny_executable, foreign)
    with pytest.raises(UserError, match=f"is for {foreign} .*, this machine is .*: copy it to such a machine"):
        eq_tvm.load(bundle.path)


def test_a_bundle_for_a_better_processor(tiny, monkeypatch):
    monkeypatch.setattr(host, "cpu_features", lambda: {"fma"})
    assert tiny.target["instructions"]
    if host.platform.machine() == "x86_64":
        with pytest.raises(UserError, match=r"this processor lacks .*avx.*: compile it for --target native"):
            eq_tvm.load(tiny)


def test_commands_load_no_compiler(tiny, tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((1, 6, 4, 3), np.uint8))
    script = """
from eq_tvm.cli import main
for arguments in ("run {} --input x.npz", "bench {} --seconds 0.01", "evaluate {} --data x.npz"):
    assert main(arguments.format("tiny.eqtvm").split()) == 0, arguments
maps = open("/proc/self/maps").read()
assert "libtvm_runtime" in maps and "libtvm_compiler" not in maps
"""
    environment = {name: value for name, value in os.environ.items() if name != "TVM_USE_RUNTIME_LIB"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
