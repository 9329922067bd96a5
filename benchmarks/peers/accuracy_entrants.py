"""What stands in the accuracy table: how each is made from a network and calibration images, and run."""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from peers.cache import cached, key_of
from peers.machine import cpu
from peers.models import HERE, compiler_sources

if TYPE_CHECKING:
    import onnx

DEFAULT = "default"


@dataclass(frozen=True)
class Task:
    """A network to quantize.

    Attributes
    ----------
    model, preprocess, calibration : Path
    images : int
        Calibration images, evenly spaced over those there are.
    """

    model: Path
    preprocess: Path
    calibration: Path
    images: int

    def key(self, *parts: object, packages: tuple[str, ...] = ()) -> str:
        """Of everything that the quantized network depends on."""
        files = [self.model, self.preprocess, self.calibration, HERE / "peers" / "accuracy_entrants.py"]
        return key_of(self.images, *parts, files=files, packages=packages)

    def inputs(self) -> list[np.ndarray]:
        """The calibration images as the network's inputs (1, C, H, W): the same that eq_tvm takes."""
        from eq_tvm import data
        from eq_tvm.preprocess import Preprocess
        from eq_tvm.running.float_network import load_float

        dataset, preprocess = data.read(self.calibration), Preprocess.read(self.preprocess)
        chosen = np.linspace(0, len(dataset) - 1, min(self.images, len(dataset))).round().astype(int)
        shape = load_float(self.model).inputs[0].shape
        return [dataset.input(i, shape, preprocess) for i in chosen]


@dataclass(frozen=True)
class Entrant:
    """One row of a network's table.

    Attributes
    ----------
    engine, scheme, method : str
    make : callable (Task, Path) -> float
        Writes what `eq_tvm.load` or ONNX Runtime loads; returns the processor's seconds that this took, reading images
        left out.
    key : callable (Task) -> str
    suffix : str
        Of the file or directory.
    needs : str
        The package that it needs.
    """

    engine: str
    scheme: str
    method: str
    make: Callable[[Task, Path], float]
    key: Callable[[Task], str]
    suffix: str
    needs: str

    @property
    def name(self) -> str:
        return f"{self.engine}-{self.scheme}-{self.method}"

    def missing(self) -> bool:
        """Whether its package is not installed."""
        return importlib.util.find_spec(self.needs) is None

    def prepare(self, task: Task, work: Path) -> tuple[Path, float]:
        """What to load, made once, and the processor's seconds that its calibration took."""
        path = work / f"{task.model.stem}-{self.name}{self.suffix}"
        note = path.with_name(f"{path.name}.json")

        def make():
            note.write_text(json.dumps(self.make(task, path)))

        cached(path, self.key(task), make)
        return path, json.loads(note.read_text())


def entrants(schemes: list[str], methods: list[str]) -> list[Entrant]:
    """All, eq_tvm's first; its method `DEFAULT` is what `compile` takes where none is asked for."""
    return [
        *(own(scheme, method) for scheme in schemes for method in methods),
        *(_onnxruntime(name) for name in _CALIBRATIONS),
        _onnxruntime("MinMax", "minmax-s8s8", activation_type="QInt8"),
        _nncf("default"),
        _nncf("bias-correction", fast_bias_correction=False),
        _nncf("transformer", model_type="transformer"),
    ]


def quantizers() -> list[Entrant]:
    """The others' in each form in which they write quantized networks."""
    return [
        *(_onnxruntime(name) for name in _CALIBRATIONS),
        _onnxruntime("MinMax", "minmax-s8s8", activation_type="QInt8"),
        _onnxruntime("MinMax", "minmax-s8s8-tensor", activation_type="QInt8", per_channel=False),
        _onnxruntime("MinMax", "minmax-qoperator", quant_format="QOperator"),
        _nncf("default"),
    ]


_CALIBRATIONS = ("MinMax", "Entropy", "Percentile")


def own(scheme: str, method: str = DEFAULT) -> Entrant:
    """eq_tvm's."""
    sources = compiler_sources()

    def make(task: Task, path: Path) -> float:
        from eq_tvm import compiler

        times: list[float] = []

        def progress(done: float, message: str) -> None:
            if len(times) == (message.startswith("choosing kernels")):
                times.append(time.process_time())

        name, _, activation_range = method.partition(":")
        compiler.compile(
            task.model,
            calibration=task.calibration,
            preprocess=task.preprocess,
            scheme=scheme,
            method=None if name == DEFAULT else name,
            activation_range=activation_range or "unsigned",
            images=task.images,
            output=path,
            progress=progress,
        )
        return times[1] - times[0]

    packages = ("apache-tvm", "apache-tvm-ffi")
    key = lambda task: task.key(scheme, method, sources, cpu(), packages=packages)  # noqa: E731
    return Entrant("eq_tvm", scheme, method, make, key, ".eqtvm", "eq_tvm")


def _onnxruntime(
    calibration: str,
    method: str | None = None,
    *,
    activation_type: str = "QUInt8",
    per_channel: bool = True,
    quant_format: str = "QDQ",
) -> Entrant:
    def make(task: Task, path: Path) -> float:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        logging.getLogger().setLevel(logging.ERROR)
        images = _reader(task)
        start = time.process_time()
        quantize_static(
            _prepared(task),
            str(path),
            images,
            quant_format=QuantFormat[quant_format],
            per_channel=per_channel,
            activation_type=QuantType[activation_type],
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[calibration],
        )
        return time.process_time() - start

    how = (calibration, activation_type, per_channel, quant_format)
    key = lambda task: task.key(how, packages=("onnxruntime",))  # noqa: E731
    return Entrant("onnxruntime", "int8", method or calibration.lower(), make, key, ".onnx", "onnxruntime")


def _prepared(task: Task) -> onnx.ModelProto:
    """The network with its batch norms folded and its shapes inferred, as both peers want it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "prepared.onnx"
        quant_pre_process(str(task.model), str(path), skip_symbolic_shape=True)
        return onnx.load(path)


def _reader(task: Task):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            name = _input_name(task.model)
            self._images = iter([{name: image} for image in task.inputs()])

        def get_next(self):
            return next(self._images, None)

    return Reader()


def _nncf(method: str, **options: object) -> Entrant:
    def make(task: Task, path: Path) -> float:
        import nncf
        import onnx

        given = {key: nncf.ModelType(value) if key == "model_type" else value for key, value in options.items()}
        name = _input_name(task.model)
        images = [{name: image} for image in task.inputs()]
        start = time.process_time()
        with mock.patch.object(onnx.utils, "Extractor", _extractor()):
            quantized = nncf.quantize(_prepared(task), nncf.Dataset(images), subset_size=len(images), **given)
        onnx.save(quantized, path)
        return time.process_time() - start

    key = lambda task: task.key("nncf", options, packages=("nncf", "onnx", "onnxruntime"))  # noqa: E731
    return Entrant("nncf", "int8", method, make, key, ".onnx", "nncf")


def _extractor() -> type:
    """onnx's with a repair: NNCF 3.4 names a tensor once for each of its readers, and ONNX Runtime wants it once."""
    import onnx

    class Extractor(onnx.utils.Extractor):
        def extract_model(self, input_names: list[str], output_names: list[str]) -> onnx.ModelProto:
            return super().extract_model(list(dict.fromkeys(input_names)), list(dict.fromkeys(output_names)))

    return Extractor


def _input_name(model: Path) -> str:
    from eq_tvm.running.float_network import load_float

    return load_float(model).inputs[0].name
