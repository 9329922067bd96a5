"""Inputs that are wrong in every way that a generator finds: each is one line, or does what it says.

``FUZZ_SEED`` gives other ones; ``-m exhaustive`` tries 19 times as many.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random

import files
import graphs
import numpy as np
import onnx
import pytest
from attempt import Attempts
from PIL import Image
from tflite_files import SAME, T, const, write

from eq_tvm.boards.tuner import processor

SEED = int(os.environ.get("FUZZ_SEED", "17"))
ROUNDS = [pytest.param(range(3), id="some"), pytest.param(range(3, 60), id="many", marks=pytest.mark.exhaustive)]
COMPILE = ["compile", "net.onnx", "--calibration", "random", "--output", "out"]


@pytest.fixture(scope="session")
def attempt():
    """Runs a command in a folder."""
    attempts = Attempts()
    yield attempts
    attempts.close()


@pytest.fixture(scope="session")
def good(tmp_path_factory, attempt) -> Path:
    """Sound files of each kind, beside which one that is wrong stands."""
    folder = tmp_path_factory.mktemp("good")
    numbers = np.random.default_rng(SEED)
    onnx.save(graphs.network(Random(SEED)), folder / "net.onnx")
    np.savez(folder / "good.npz", images=numbers.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8), labels=np.arange(4))
    np.save(folder / "good.npy", numbers.standard_normal((1, 3, 8, 8)).astype(np.float32))
    Image.new("RGB", (8, 8)).save(folder / "good.png")
    (folder / "good.yaml").write_text("channels: RGB\nmean: [100, 100, 100]\nstd: [50, 50, 50]\n")
    command = [
        "compile",
        "net.onnx",
        "--calibration",
        "good.npz",
        "--preprocess",
        "good.yaml",
        "--output",
        "good.eqtvm",
    ]
    assert attempt(command, folder).code == 0
    tensors = {
        "x": T((1, 6, 7, 3)),
        "w": const(numbers.standard_normal((4, 3, 3, 3)).astype(np.float32)),
        "b": const(np.zeros(4, np.float32)),
    }
    convolution = {"StrideH": 1, "StrideW": 1, "Padding": SAME}
    write(folder / "good.tflite", [("CONV_2D", "x w b", "y", convolution)], {**tensors, "y": T((1, 6, 7, 4))}, "x", "y")
    (folder / "processor.json").write_text(json.dumps(processor()))
    return folder


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in graphs.KINDS])
def test_networks(tmp_path, attempt, kind, rounds):
    for number in rounds:
        folder = tmp_path / str(number) / "in"
        folder.mkdir(parents=True)
        kind(Random(f"{SEED} {number}"), folder)
        check(attempt, COMPILE, folder, number)


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in files.KINDS])
def test_files(tmp_path, attempt, good, kind, rounds):
    for number in rounds:
        folder = tmp_path / str(number) / "in"
        shutil.copytree(good, folder)
        check(attempt, kind(Random(f"{SEED} {number}"), folder), folder, number)


def check(attempt: Attempts, command: list[str], folder: Path, number: int) -> None:
    """One line and nothing left behind, or success; nothing of what is around the folder was touched."""
    before = contents(folder)
    outcome = attempt(command, folder)
    assert not outcome.fault, f"{number}: {command} in {folder}: {outcome.fault}"
    assert contents(folder) == before or outcome.code == 0, f"{number}: {command} in {folder} left {contents(folder)}"
    assert not (folder / "harm").exists() and len(list(folder.parent.iterdir())) <= 2
    shutil.rmtree(folder.parent)


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
