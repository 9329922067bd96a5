"""What makes peers' models says in one line what is missing."""

import pytest
from onnx_models import write_model

from converted import mnn_model, tflite_model


def test_without_onnx2tf(tmp_path):
    with pytest.raises(RuntimeError, match="pip install onnx2tf"):
        tflite_model.convert(
            tmp_path / "net.onnx", tmp_path / "net.tflite", "int8", tmp_path / "env" / "bin" / "onnx2tf"
        )


def test_a_failure_is_the_converters_last_line(tmp_path):
    write_model(tmp_path / "net.onnx", [("Relu", "data", "r", {})], {"data": [1, 3, 8, 8]}, ["r"], {})
    command = tmp_path / "env" / "bin" / "onnx2tf"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\necho first\necho no such operator >&2\nexit 1\n")
    command.chmod(0o755)
    with pytest.raises(RuntimeError, match="onnx2tf: no such operator"):
        tflite_model.convert(tmp_path / "net.onnx", tmp_path / "net.tflite", "float32", command)


def test_without_mnnconvert(tmp_path):
    with pytest.raises(RuntimeError, match="how to install it"):
        mnn_model.convert(tmp_path / "net.onnx", tmp_path / "net.mnn", tmp_path / "env" / "bin" / "mnnconvert")


def test_mnns_failure_is_the_converters_last_line(tmp_path):
    command = tmp_path / "mnnconvert"
    command.write_text("#!/bin/sh\necho first\necho no such operator >&2\n")
    command.chmod(0o755)
    with pytest.raises(RuntimeError, match="mnnconvert: no such operator"):
        mnn_model.convert(tmp_path / "net.onnx", tmp_path / "net.mnn", command)
