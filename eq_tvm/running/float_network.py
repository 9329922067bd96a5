"""Float networks: ONNX files that run as they are, for quantized ones to be compared with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eq_tvm import host
from eq_tvm.artifacts import linker
from eq_tvm.artifacts.bundle import TensorInfo
from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.building.turns import one_at_a_time
from eq_tvm.errors import UserError, system_errors
from eq_tvm.preprocess import Preprocess
from eq_tvm.running.runtime import Model
from eq_tvm.targets import get_target


def float_engine() -> str | None:
    """What runs float networks here: ONNX Runtime where it is installed, else eq_tvm's own float32 build.

    None where TVM is loaded without its compiler.
    """
    if find_spec("onnxruntime"):  # not imported here, as an import that is interrupted may fail with ImportError
        return "ONNX Runtime float32"
    return None if os.environ.get("TVM_USE_RUNTIME_LIB") == "1" else "eq_tvm float32"


def load_float(
    path: str | Path,
    preprocess: Preprocess | None = None,
    inputs: tuple[TensorInfo, ...] = (),
    constants: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> Runner:
    """An ONNX file, ready to run in float32 on this machine.

    Parameters
    ----------
    path : str or Path
    preprocess : Preprocess, optional
    inputs : tuple of TensorInfo
        Of the network that it is to be compared with: what is dynamic in the file gets its extents.
    constants : mapping of input name to value, optional
        Inputs that always have this value.
    threads : int, optional
        Of ONNX Runtime; by default as `eq_tvm.host.default_threads` says.
    """
    _onnx_file(path)
    engine = float_engine()
    if engine is None:
        raise UserError(f"nothing can run {path}: pip install onnxruntime, or unset TVM_USE_RUNTIME_LIB to compile it")
    if engine == "eq_tvm float32":
        return compile_float(path, preprocess, {info.name: info.shape for info in inputs}, constants)
    return _OnnxRuntime(path, preprocess, inputs, constants or {}, threads or host.default_threads())


class Runner(Protocol):
    """What `evaluate` needs of a network: `eq_tvm.running.runtime.Model`, or a float engine."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    preprocess: Preprocess | None

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by their names, of inputs by theirs."""


@one_at_a_time
def compile_float(
    model: str | Path,
    preprocess: Preprocess | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> Model:
    """Compile a network in float32 for this machine, in memory: the reference that quantized ones are compared with."""
    from eq_tvm import pipeline

    spec = get_target("native")
    linker.check(spec)
    module, inputs, outputs = import_canonical(Path(model), shapes, constants=constants)
    with pass_errors():
        return Model(pipeline.build(module, spec)[0], inputs, outputs, preprocess)


def _onnx_file(path: str | Path) -> Path:
    """Of an ONNX file itself without the package onnx, which a board need not have."""
    with system_errors(f"read {path}"):
        if not Path(path).is_file():
            raise UserError(f"no such ONNX file: {path}")
    if Path(path).suffix == ".onnx":
        return Path(path)
    from eq_tvm.importer.formats import onnx_file

    return onnx_file(path)


class _OnnxRuntime:
    def __init__(
        self,
        path: str | Path,
        preprocess: Preprocess | None,
        compared: tuple[TensorInfo, ...],
        constants: Mapping[str, Any],
        threads: int,
    ):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Between images its threads would keep the cores busy that the bundle's threads need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(_onnx_file(path)), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:  # it has a dozen unrelated exception classes
            raise UserError(f"ONNX Runtime can't load {path}: {' '.join(str(e).split())}") from e
        self._path, self.preprocess = path, preprocess
        self.outputs: tuple[TensorInfo, ...] = ()
        nodes = [node for node in self._session.get_inputs() if node.name not in constants]
        self._constants = {
            node.name: _constant(node, constants[node.name])
            for node in self._session.get_inputs()
            if node.name in constants
        }
        self.inputs = tuple(_info(path, node, other) for node, other in zip_longest(nodes, compared[: len(nodes)]))
        self._names = [node.name for node in self._session.get_outputs()]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return dict(zip(self._names, self._session.run(None, inputs | self._constants), strict=True))
        except Exception as e:
            raise UserError(f"ONNX Runtime can't run {self._path}: {' '.join(str(e).split())}") from e


def _info(path: str | Path, node: Any, compared: TensorInfo | None) -> TensorInfo:
    """An input as ONNX Runtime describes it; dynamic extents as in another network, and a dynamic batch else 1."""
    others = compared.shape if compared and len(compared.shape) == len(node.shape) else (1,)
    shape = [size if isinstance(size, int) else other for size, other in zip_longest(node.shape, others)]
    if None in shape:
        raise UserError(
            f"{path}: input {node.name} has a dynamic shape; evaluate takes static ones (but for the batch)"
        )
    return TensorInfo(node.name, tuple(shape[: len(node.shape)]), _dtype(node))


def _constant(node: Any, value: Any) -> np.ndarray:
    """One number stands for a tensor of one element, too."""
    array = np.asarray(value, _dtype(node))
    return array.reshape([1] * len(node.shape)) if array.size == 1 else array


def _dtype(node: Any) -> str:
    dtype: str = node.type.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(dtype, dtype)


_DTYPES = {"float": "float32", "double": "float64"}  # ONNX Runtime's names, where they are not numpy's
