"""A bundle on an emulated Raspberry Pi: by the command line there, and from here through TVM's RPC server and tracker.

TVM's compiler is not there, so what works needs none.
"""

import json
import os
import subprocess
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from onnx_models import random, write_model
from rpc_servers import Server

import eq_tvm
from eq_tvm.bench import bench, bench_layers
from eq_tvm.building import tuning
from eq_tvm.evaluate import evaluate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with a small INT8 network as bundles for this machine and a board, and images."""
    path = tmp_path_factory.mktemp("board")
    write_model(
        path / "net.onnx",
        [
            ("Conv", "data w", "c", {}),
            ("Relu", "c", "r", {}),
            ("GlobalAveragePool", "r", "p", {}),
            ("Flatten", "p", "scores", {}),
        ],
        {"data": [1, 3, 12, 12]},
        ["scores"],
        {"w": random(10, 3, 3, 3)},
    )
    (path / "net.yaml").write_text("{channels: RGB, mean: [128, 128, 128], std: [64, 64, 64]}")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    np.savez(path / "images.npz", images=pixels, labels=np.arange(4))
    for target in ("native", "rpi4"):
        eq_tvm.compile(
            path / "net.onnx",
            target=target,
            scheme="int8",
            calibration=path / "images.npz",
            preprocess=path / "net.yaml",
            output=path / f"net-{target}.eqtvm",
        )
    model = eq_tvm.load(path / "net-native.eqtvm")
    scores = np.concatenate([model.run(image)["scores"] for image in pixels])
    return SimpleNamespace(path=path, pixels=pixels, scores=scores)


def test_commands_on_the_board(folder, python_aarch64):
    command, environment = python_aarch64
    script = """
import sys
from eq_tvm.cli import main
for arguments in (
    "run net-rpi4.eqtvm --input images.npz --output scores.npz",
    "bench net-rpi4.eqtvm --seconds 0.01 --json",
    "bench net-rpi4.eqtvm --seconds 0.01 --layers --json",
    "evaluate net-rpi4.eqtvm --data images.npz --json",
):
    assert main(arguments.split()) == 0, arguments
assert "libtvm_compiler" not in open("/proc/self/maps").read()
"""
    done = subprocess.run(
        [*command, "-c", script], cwd=folder.path, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(folder.path / "scores.npz")["scores"], folder.scores)
    timing, layers, result = map(json.loads, done.stdout.splitlines()[-3:])
    assert timing["runs"] >= 3 and any(row.get("layer") for row in layers)
    assert result == evaluate(folder.path / "net-native.eqtvm", folder.path / "images.npz")


def test_tracker_and_server_on_the_board(folder, python_aarch64, tmp_path):
    command, environment = python_aarch64
    bundle = folder.path / "net-rpi4.eqtvm"
    with Server("rpc_tracker", tmp_path / "tracker") as tracker:
        options = ("--tracker", tracker.address, "--key", "rpi4")
        with Server("rpc_server", tmp_path / "log", *options, python=command, environment=environment):
            tracker.wait_for_board()
            with eq_tvm.connect(tracker=tracker.address, key="rpi4") as board:
                model = eq_tvm.load(bundle, board=board)
                for image, scores in zip(folder.pixels, folder.scores, strict=True):
                    np.testing.assert_array_equal(model.run(image)["scores"][0], scores)
                assert bench(bundle, seconds=0.01, board=board)["runs"] >= 3
                assert any(row.get("layer") for row in bench_layers(bundle, seconds=0.01, board=board))
                here = evaluate(folder.path / "net-native.eqtvm", folder.path / "images.npz")
                assert evaluate(bundle, folder.path / "images.npz", board=board) == here
                with pytest.raises(eq_tvm.UserError, match=r"is for native .*, the board .* is aarch64: compile"):
                    board.load(folder.path / "net-native.eqtvm")


@pytest.mark.exhaustive  # half a minute
@pytest.mark.parametrize(("boards", "measured"), [(2, 4), (1, 3)], ids=["two boards", "one board"])
def test_tuning(folder, python_aarch64, tmp_path, monkeypatch, boards, measured):
    """Kernels for a board are measured there, their results compared with this machine's, and used without boards."""
    monkeypatch.setattr(tuning, "TRIED", measured)
    command, environment = python_aarch64
    options = {
        "target": "rpi4",
        "calibration": folder.path / "images.npz",
        "preprocess": folder.path / "net.yaml",
        "output": tmp_path / "net.eqtvm",
        "tuning_file": tmp_path / "tuning.json",
    }
    with ExitStack() as stack:
        tracker = stack.enter_context(Server("rpc_tracker", tmp_path / "tracker"))
        for number in range(boards):
            of_tracker = ("--tracker", tracker.address, "--key", "rpi4")
            log = tmp_path / f"log{number}"
            stack.enter_context(Server("rpc_server", log, *of_tracker, python=command, environment=environment))
        tracker.wait_for_board(boards)
        tuned = eq_tvm.compile(folder.path / "net.onnx", tune=True, tracker=tracker.address, key="rpi4", **options)
    ((kind, entries),) = json.loads((tmp_path / "tuning.json").read_text()).items()
    assert kind.startswith("rpi4 on ") and ", code for cortex-a72, threads: 1" in kind
    assert all(None not in entry["us"].values() and len(entry["us"]) == measured for entry in entries.values())
    again = eq_tvm.compile(folder.path / "net.onnx", **options)
    assert again.kernels == tuned.kernels and again.kernels[0]["kernel"] in {e["kernel"] for e in entries.values()}
