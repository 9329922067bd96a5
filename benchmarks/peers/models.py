"""What each engine loads: made in a work directory, and kept there."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from converted import mnn_model, ncnn_model, nncf_model, tflite_model
from peers import networks, qdq
from peers.cache import cached, key_of
from peers.engines import Engine
from peers.machine import cpu

HERE = Path(__file__).resolve().parents[1]  # the benchmarks
REAL = HERE.parent.parent / "shared" / "data" / "models"

# Scales don't matter to speed: the quickest way to find some is good enough.
CALIBRATION = {"calibration": "random", "method": "minmax", "images": 2}


def float_model(name: str, real: Path, work: Path, batch: int = 1) -> Path:
    """The network as an ONNX file: one of `networks.NETWORKS`, or a file of the directory `real`.

    The former for so many images at a time.

    Raises
    ------
    FileNotFoundError
        There is no such network.
    """
    path = work / f"{name}{f'-batch{batch}' if batch > 1 else ''}.onnx"
    if name in networks.NETWORKS:
        sources = [HERE / "peers" / source for source in ("networks.py", "transformers.py")]
        key = key_of(name, batch, files=sources, packages=["onnx", "numpy"])
        return cached(path, key, lambda: networks.write(name, path, batch))
    source = real / f"{name.removeprefix('real-')}.onnx"
    if not source.is_file():
        raise FileNotFoundError(f"no network {name}")
    return cached(path, key_of(files=[source]), lambda: path.write_bytes(source.read_bytes()))


def real_networks(real: Path) -> list[str]:
    """The names of the networks in a directory; they begin with ``real-``."""
    return sorted(f"real-{path.stem}" for path in real.glob("*.onnx"))


def prepare(engine: Engine, model: Path, target: str, fresh: bool = False, optimize: str = "speed") -> Path:
    """Make what an engine loads, next to the ONNX file that `float_model` gave.

    Parameters
    ----------
    engine : Engine
    model : Path
    target : str
        What eq_tvm compiles for.
    fresh : bool
        Compile eq_tvm's bundle even where nothing changed.
    optimize : str
        What for, as eq_tvm's option.
    """
    source = model.with_name(f"{model.name}.key").read_text()
    if engine.library == "eq_tvm":
        return _bundle(engine, model, source, target, fresh, optimize)
    if engine.library == "ncnn":
        param = model.with_suffix(".param")
        key = key_of(source, files=[Path(ncnn_model.__file__)], packages=["onnxruntime"])
        return cached(param, key, lambda: ncnn_model.convert(model, param, model.with_suffix(".bin")))
    if engine.library == "litert":
        path = model.with_name(f"{model.stem}-{engine.scheme}.tflite")
        key = key_of(source, files=[Path(tflite_model.__file__)])
        onnx2tf = model.parent / "onnx2tf" / "bin" / "onnx2tf"
        return cached(path, key, lambda: tflite_model.convert(model, path, engine.scheme, onnx2tf))
    if engine.library == "mnn":
        path = model.with_suffix(".mnn")
        key = key_of(source, files=[Path(mnn_model.__file__)], packages=["MNN"])
        mnnconvert = model.parent / "mnn" / "bin" / "mnnconvert"
        return cached(path, key, lambda: mnn_model.convert(model, path, mnnconvert))
    if engine.library == "openvino" and engine.scheme == "int8" and model.stem in networks.TRANSFORMERS:
        path = model.with_name(f"{model.stem}_int8.xml")
        key = key_of(source, files=[Path(nncf_model.__file__)], packages=["nncf", "openvino"])
        return cached(path, key, lambda: nncf_model.quantize(model, path))
    if engine.scheme == "int8":
        path = model.with_name(f"{model.stem}_int8.onnx")
        key = key_of(source, files=[HERE / "peers" / "qdq.py"], packages=["onnxruntime"])
        return cached(path, key, lambda: qdq.quantize(model, path))
    return model


def _bundle(engine: Engine, model: Path, source: str, target: str, fresh: bool, optimize: str) -> Path:
    sources = compiler_sources()  # before the import: what is compiled with is what was hashed
    from eq_tvm import compiler

    form = engine.form + f"-{optimize}" * (optimize != "speed")
    path = model.with_name(f"{model.stem}-{form}-{target}.eqtvm")
    key = key_of(source, form, target, cpu(), CALIBRATION, sources, packages=["apache-tvm", "apache-tvm-ffi"])

    def make():
        compiler.compile(
            model,
            target=target,
            scheme=engine.scheme,
            activation_range=engine.activation_range,
            optimize=optimize,
            output=path,
            **CALIBRATION,
        )

    return cached(path, key, make, fresh)


@functools.cache
def compiler_sources() -> str:
    """A hash of eq_tvm's sources as they are at the first call: this process imports them once, too."""
    root = Path(importlib.util.find_spec("eq_tvm").origin).parent.parent
    files = [root / "eq_tvm" / "targets.yaml"]
    files += [file for folder in ("eq_tvm", "passes", "schedules") for file in sorted((root / folder).rglob("*.py"))]
    return key_of(files=files)
