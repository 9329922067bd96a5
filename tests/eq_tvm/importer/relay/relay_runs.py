"""Modules of Relay, read and run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from eq_tvm.importer.relay import read_relay

DATA = Path(__file__).parent / "data"  # written by TVM 0.9 and 0.16, with the outputs of their graph executors


def read_text(tmp_path, text) -> onnx.ModelProto:
    path = tmp_path / "net.relay"
    path.write_text(text)
    return read_relay(path)


def run(model, *arrays) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip((value.name for value in session.get_inputs()), arrays, strict=True)))


def typed(array) -> str:
    return f"Tensor[({', '.join(map(str, array.shape))}), {array.dtype}]"


def run_body(tmp_path, body, *arrays) -> list[np.ndarray]:
    """Of a function of %a, %b, ..."""
    params = ", ".join(f"%{name}: {typed(array)}" for name, array in zip("abcdefgh", arrays, strict=False))
    return run(read_text(tmp_path, f'#[version = "0.0.5"]\ndef @main({params}) {{\n{body}\n}}\n'), *arrays)


def kinds(model) -> list[str]:
    return [node.op_type for node in model.graph.node]
