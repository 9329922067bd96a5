"""Lets the tests here import what `python benchmarks/arm.py` imports."""

import sys
from pathlib import Path

import pytest

from eq_tvm import example

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture
def data(tmp_path):
    """A directory as ../shared/data, with the embedded example as its network."""
    (tmp_path / "models").mkdir()
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "MANIFEST.yaml").write_text("models:\n- {file: models/digits.onnx, data_set: cifar10}\n")
    (tmp_path / "models" / "digits.onnx").write_bytes(example.MODEL.read_bytes())
    (tmp_path / "models" / "digits.preprocess.yaml").write_bytes(example.PREPROCESS.read_bytes())
    (tmp_path / "cifar10" / "calib.npz").write_bytes(example.CALIBRATION.read_bytes())
    (tmp_path / "cifar10" / "eval.npz").write_bytes(example.EVAL.read_bytes())
    return tmp_path
