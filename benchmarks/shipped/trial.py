"""A network, used as a person does: what compiling takes, what it computes, how fast it is.

`compiled` and `timed` are for processes of their own, as memory and the number of threads are a process's.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx

from peers.machine import peak_memory
from shipped.package import Shipped

Inputs = dict[str, np.ndarray]


def alone(function: Callable, *arguments):
    """What a function returns, in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return pool.submit(function, *arguments).result()


@dataclass(frozen=True)
class Compiled:
    """What compiling gave, and what it took.

    Attributes
    ----------
    outputs : list of numpy.ndarray (N, ...)
        Each output for the N inputs it was tried on.
    worst : str
        The layer that calibration found farthest from float32, and its cosine; empty where there was none.
    calibrating, compiling : float
        Seconds: up to where kernels are chosen, with importing; and from there.
    peak : int
        Bytes: the most that the process held until then.
    """

    outputs: list[np.ndarray]
    worst: str
    calibrating: float
    compiling: float
    peak: int


def compiled(path: Path, network: Shipped, scheme: str, calibration: Path, held_out: Path, bundle: Path) -> Compiled:
    """Compile to `bundle` and run it on what is held out; both `.npz` have samples in front of each input's shape.

    They are files, as for anyone who compiles: arrays of them would be counted as what compiling takes.
    """
    import eq_tvm

    start = time.monotonic()
    reached: dict[str, float] = {}

    def progress(_done: float, message: str) -> None:
        reached.setdefault(message, time.monotonic())

    written = eq_tvm.compile(
        path,
        calibration=None if scheme == "float32" else calibration,
        scheme=scheme,
        input_shapes={name: tuple(shape) for name, shape in network.shapes.items()},
        constants=network.constants,
        output=bundle,
        progress=progress,
    )
    end, peak = time.monotonic(), peak_memory()
    model = eq_tvm.load(written)
    results = [list(model.run(each).values()) for each in read_samples(held_out)]
    outputs = [np.stack(of_one) for of_one in zip(*results, strict=True)]
    calibrated = reached["choosing kernels for native"]
    return Compiled(outputs, _worst(written.calibration), calibrated - start, end - calibrated, peak)


def read_samples(file: Path) -> list[Inputs]:
    """The inputs of each sample in an `.npz`."""
    with np.load(file) as arrays:
        samples = dict(arrays)
    return [dict(zip(samples, values, strict=True)) for values in zip(*samples.values(), strict=True)]


def expected(path: Path, network: Shipped, inputs: list[Inputs]) -> list[np.ndarray]:
    """Each output for all inputs, by ONNX Runtime in float32."""
    session, constants = _session(path, threads=0), _constants(path, network)
    return [np.stack(of_one) for of_one in zip(*(session.run(None, each | constants) for each in inputs), strict=True)]


def timed(path: Path, network: Shipped, bundles: dict[str, Path], inputs: Inputs, seconds: float) -> dict[str, float]:
    """Medians of the seconds that a run takes on one thread, of bundles by scheme and of "ONNX Runtime" in float32.

    They take turns, A B C A B C, for so many seconds each.
    """
    os.environ["TVM_NUM_THREADS"] = "1"  # before TVM is imported
    import tvm

    import eq_tvm

    def runner(bundle: Path) -> Callable[[], object]:
        model = eq_tvm.load(bundle)
        arrays = [tvm.runtime.tensor(inputs[info.name]) for info in model.inputs]
        return lambda: model.main(*arrays)

    session, feeds = _session(path, threads=1), inputs | _constants(path, network)
    runs = {"ONNX Runtime": lambda: session.run(None, feeds)} | {name: runner(path) for name, path in bundles.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.monotonic() + seconds * len(runs)
    while len(times["ONNX Runtime"]) < 6 or time.monotonic() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[1:]) for name, each in times.items()}  # the first warms up


def _worst(calibration: dict | None) -> str:
    layers = [layer for layer in (calibration or {}).get("layers", ()) if layer.get("cosine_after") is not None]
    if not layers:
        return ""
    worst = min(layers, key=lambda layer: layer["cosine_after"])
    return f"{worst['layer']} ({worst['op']}, cosine {worst['cosine_after']:.4f})"


def _session(path: Path, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _constants(path: Path, network: Shipped) -> Inputs:
    """In the dtypes that the file says."""
    inputs = {value.name: value.type.tensor_type.elem_type for value in onnx.load(path).graph.input}
    return {
        name: np.asarray(value, onnx.helper.tensor_dtype_to_np_dtype(inputs[name]))
        for name, value in network.constants.items()
    }
