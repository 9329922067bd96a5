"""Other engines that run ONNX files, on one thread, to be compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess
from eq_tvm.running.float_network import Runner, load_float
from eq_tvm.running.runtime import Model


def load_peer(
    engine: str, path: str | Path, preprocess: Preprocess | None = None, inputs: tuple[TensorInfo, ...] = ()
) -> Runner:
    """An ONNX file, ready to run by one of `PEERS` on one thread.

    Parameters are those of `load_float`.

    Raises
    ------
    UserError
        No such engine, it is not installed, or it can't run the file.
    """
    if engine not in PEERS:
        raise UserError(f"--against: no such engine: {engine}; there are: {', '.join(PEERS)}")
    if not is_installed(engine):
        raise UserError(f"{engine} is not installed: pip install {engine}")
    return PEERS[engine](path, preprocess, inputs)


def is_installed(engine: str) -> bool:
    """Whether it is here."""
    return find_spec(engine) is not None


def times(runner: Runner, arrays: list[np.ndarray], seconds: float) -> list[float]:
    """Seconds of each run for so long, after a tenth of it to warm up; at least three."""
    if isinstance(runner, Model):
        return runner.measure(arrays, seconds)
    inputs = {info.name: array for info, array in zip(runner.inputs, arrays, strict=True)}

    def time_one() -> float:
        start = time.perf_counter()
        runner.run(inputs)
        return time.perf_counter() - start

    end = time.perf_counter() + seconds / 10
    time_one()
    while time.perf_counter() < end:
        time_one()
    measured: list[float] = []
    end = time.perf_counter() + seconds
    while len(measured) < 3 or time.perf_counter() < end:
        measured.append(time_one())
    return measured


class _OpenVino:
    def __init__(self, path: str | Path, preprocess: Preprocess | None, compared: tuple[TensorInfo, ...]):
        import openvino

        self._path, self.preprocess = path, preprocess
        self.outputs: tuple[TensorInfo, ...] = ()
        try:
            model = openvino.Core().read_model(str(path))
            shapes = {}
            for i, node in enumerate(model.inputs):
                other = compared[i].shape if i < len(compared) else ()
                extents = [d.get_length() if d.is_static else -1 for d in node.partial_shape]
                others = other if len(other) == len(extents) else (1,) * len(extents)
                shapes[node.any_name] = [o if e < 0 else e for e, o in zip(extents, others, strict=True)]
            model.reshape(shapes)
            options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
            options["INFERENCE_PRECISION_HINT"] = "f32"  # what is quantized in the file stays so
            self._compiled = openvino.Core().compile_model(model, "CPU", options)
        except Exception as e:  # whatever it raises
            raise UserError(f"OpenVINO can't load {path}: {' '.join(str(e).split())}") from e
        self.inputs = tuple(
            TensorInfo(node.any_name, tuple(node.shape), np.dtype(node.element_type.to_dtype()).name)
            for node in self._compiled.inputs
        )
        self._names = [node.any_name for node in self._compiled.outputs]
        self._request: Any = self._compiled.create_infer_request()

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            results = self._request.infer(inputs)
            return {name: np.array(results[i]) for i, name in enumerate(self._names)}
        except Exception as e:  # as above
            raise UserError(f"OpenVINO can't run {self._path}: {' '.join(str(e).split())}") from e


def _onnx_runtime(path: str | Path, preprocess: Preprocess | None, compared: tuple[TensorInfo, ...]) -> Runner:
    return load_float(path, preprocess, compared, threads=1)


PEERS: dict[str, Callable[[str | Path, Preprocess | None, tuple[TensorInfo, ...]], Runner]] = {
    "onnxruntime": _onnx_runtime,
    "openvino": _OpenVino,
}
