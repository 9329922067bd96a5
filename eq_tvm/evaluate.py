"""How good a network is on a set of images, and how close to its float reference."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from eq_tvm import data as datasets
from eq_tvm import host
from eq_tvm.bundle import TensorInfo
from eq_tvm.errors import UserError
from eq_tvm.preprocess import Preprocess
from eq_tvm.runtime import load

if TYPE_CHECKING:
    from eq_tvm.boards import Board

Progress = Callable[[float, str], None]


class Runner(Protocol):
    """What `evaluate` needs of a network: `eq_tvm.runtime.Model`, or a float engine."""

    inputs: tuple[TensorInfo, ...]
    preprocess: Preprocess | None

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    preprocess: Preprocess | str | Path | None = None,
    reference: str | Path | None = None,
    limit: int | None = None,
    board: Board | None = None,
    progress: Progress | None = None,
) -> dict[str, float | int | None]:
    """Run a network on images and compare it with their labels and with a float reference.

    Parameters
    ----------
    model : str or Path
        A bundle, or an ONNX file, which the float engine runs (see `float_engine`).
    data : str or Path
        What `eq_tvm.data.read` takes.
    preprocess : Preprocess or path of a YAML file, optional
        Instead of the bundle's own.
    reference : path of an ONNX file, optional
        The float network to compare with.
    limit : int, optional
        Only the first so many images.
    board : Board, optional
        Where to run the bundle instead of this machine, which runs the reference; `eq_tvm.connect` gives one.
    progress : callable (done 0..1, message), optional

    Returns
    -------
    dict
        `top1`: share of images whose highest output is the label's (None without labels, or where the first output is
        not one vector of scores). `agreement`: share of those decisions that the reference makes too; where the first
        output is a list of score vectors, over all of them. `cosine`: mean cosine similarity of all outputs to the
        reference's. Both None without a reference. `n`: the number of images.
    """
    if isinstance(preprocess, str | Path):
        preprocess = Preprocess.read(preprocess)
    dataset = datasets.read(data)
    if not _is_bundle(model) and board is not None:
        raise UserError(f"a board runs bundles only: compile {model} for it, or leave --rpc and --tracker out")
    runner = load(model, board=board) if _is_bundle(model) else load_float(model, preprocess)
    original = load_float(reference, preprocess) if reference is not None else None
    preprocess = preprocess or runner.preprocess
    if len(runner.inputs) != 1 or (original and len(original.inputs) != 1):
        raise UserError(f"{model} has {len(runner.inputs)} inputs: evaluate can run networks with one image input only")

    n = min(len(dataset), limit or len(dataset))
    scores = Scores()
    for i in range(n):
        image = dataset.input(i, runner.inputs[0].shape, preprocess)
        outputs = list(runner.run({runner.inputs[0].name: image}).values())
        expected = list(original.run({original.inputs[0].name: image}).values()) if original else None
        if expected and [e.shape for e in expected] != [o.shape for o in outputs]:
            raise UserError(f"{reference} is not the float network of {model}: its outputs have other shapes")
        scores.add(outputs, None if dataset.labels is None else dataset.labels[i], expected)
        if progress:
            progress((i + 1) / n, f"{i + 1} of {n} images")
    return scores.result()


class Scores:
    """Counts what `evaluate` returns, image by image."""

    def __init__(self):
        self._count, self._correct, self._agreeing, self._cosines = 0, [], [], []

    def add(self, outputs: list[np.ndarray], label: int | None, expected: list[np.ndarray] | None) -> None:
        """Take the outputs for one image, and the reference's, of the same shapes."""
        self._count += 1
        decisions = _decisions(outputs[0])
        if label is not None and decisions.size == 1:
            self._correct.append(decisions[0] == label)
        if expected:
            self._agreeing.append(np.mean(decisions == _decisions(expected[0])))
            self._cosines.append(np.mean([_cosine(o, e) for o, e in zip(outputs, expected, strict=True)]))

    def result(self) -> dict[str, float | int | None]:
        """As `evaluate` returns it."""
        lists = {"top1": self._correct, "agreement": self._agreeing, "cosine": self._cosines}
        return {name: float(np.mean(x)) if x else None for name, x in lists.items()} | {"n": self._count}


def float_engine() -> str | None:
    """What runs float networks here: ONNX Runtime where it is installed, else eq_tvm's own float32 build.

    None where TVM is loaded without its compiler.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return None if os.environ.get("TVM_USE_RUNTIME_LIB") == "1" else "eq_tvm float32"
    return "ONNX Runtime float32"


def load_float(path: str | Path, preprocess: Preprocess | None = None) -> Runner:
    """An ONNX file, ready to run in float32 on this machine."""
    if not Path(path).is_file():
        raise UserError(f"no such ONNX file: {path}")
    engine = float_engine()
    if engine is None:
        raise UserError(f"nothing can run {path}: pip install onnxruntime, or unset TVM_USE_RUNTIME_LIB to compile it")
    if engine == "eq_tvm float32":
        from eq_tvm.compiler import compile_float

        return compile_float(path, preprocess)
    return _OnnxRuntime(path, preprocess)


class _OnnxRuntime:
    def __init__(self, path: str | Path, preprocess: Preprocess | None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = host.default_threads()
        options.log_severity_level = 3
        # Between images its threads would keep the cores busy that the bundle's threads need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as e:  # it has a dozen unrelated exception classes
            raise UserError(f"ONNX Runtime can't load {path}: {' '.join(str(e).split())}") from e
        self.preprocess = preprocess
        self.inputs = tuple(_info(path, node.name, node.shape) for node in self._session.get_inputs())
        self._outputs = [node.name for node in self._session.get_outputs()]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(None, inputs), strict=True))


def _info(path: str | Path, name: str, shape: list[int | str | None]) -> TensorInfo:
    shape = [1, *shape[1:]]
    if not all(isinstance(size, int) for size in shape):
        raise UserError(f"{path}: input {name} has a dynamic shape; evaluate takes static ones (but for the batch)")
    return TensorInfo(name, tuple(shape), "float32")


def _is_bundle(model: str | Path) -> bool:
    if Path(model).is_dir():
        return True
    if not Path(model).exists():
        raise UserError(f"no such bundle or ONNX file: {model}")
    return False


def _decisions(output: np.ndarray) -> np.ndarray:
    """The class of each score vector: of the whole output, or along its last axis where it has several vectors."""
    vector = np.squeeze(output)
    return np.atleast_1d(np.argmax(vector, axis=-1)).ravel()


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine similarity; 1 of two zero vectors, 0 of one."""
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else float(not a.any() and not b.any())
