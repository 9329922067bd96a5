"""What a network may come as: each format becomes an ONNX file, which is what everything else reads."""

from __future__ import annotations

import functools
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx

from eq_tvm.errors import UserError, system_errors

# By a file's suffix, what makes an onnx.ModelProto of its path; imported when there is such a file
_READERS = {
    ".pt2": "eq_tvm.importer.pytorch:read_exported",
    ".tflite": "eq_tvm.importer.tflite:read_tflite",
    ".relay": "eq_tvm.importer.relay:read_relay",
    ".json": "eq_tvm.importer.relay:read_relay",
    ".txt": "eq_tvm.importer.relay:read_relay",
}
# What is met instead, and the way out
_REFUSED = {
    (".pt", ".pth"): "holds a PyTorch model in a form that needs its Python code: write it with "
    "torch.export.save(torch.export.export(model.eval(), (example,)), 'net.pt2')",
    (".h5", ".keras", ".pb"): "is TensorFlow's: convert it with tf.lite.TFLiteConverter to a .tflite file",
    (".caffemodel", ".prototxt", ".mlmodel", ".param", ".bin", ".xml", ".engine", ".mar"): "is of a format that "
    "can't be read: export the network as ONNX",
}


def onnx_file(path: str | Path) -> Path:
    """The ONNX file that stands for a network: the file itself, or what was made of it, which lasts as we run.

    Raises
    ------
    UserError
        There is no such file, it is of a format that can't be read, or of one of ours but can't be read.
    """
    path = Path(path)
    with system_errors(f"read {path}"):
        if not path.is_file():
            raise UserError(_missing(path))
        changed = path.stat().st_mtime_ns
    for suffixes, what in _REFUSED.items():
        if path.suffix.lower() in suffixes:
            raise UserError(f"{path} {what}")
    return _converted(path.absolute(), changed) if path.suffix.lower() in _READERS else path


def file_of(module: Any, example: Any) -> Path:
    """The ONNX file that stands for a network of PyTorch's: see `eq_tvm.importer.pytorch.to_onnx`."""
    from eq_tvm.importer.pytorch import to_onnx

    return _saved(to_onnx(module, example), type(module).__name__.lower())


def weight_bytes(model: onnx.ModelProto) -> int:
    """Of all initializers, also where they are more than a serialized model may have."""
    return sum(tensor.ByteSize() for tensor in model.graph.initializer)


@functools.lru_cache(maxsize=16)
def _converted(path: Path, changed: int) -> Path:
    home, _, name = _READERS[path.suffix.lower()].partition(":")
    model = getattr(import_module(home), name)(path)
    if model.doc_string:  # what its reader left out
        warnings.warn(f"{path.name}: {model.doc_string}", stacklevel=2)
    return _saved(model, path.stem)


def _saved(model: onnx.ModelProto, name: str) -> Path:
    path = Path(tempfile.mkdtemp(dir=_folder().name)) / f"{name}.onnx"
    with system_errors(f"write {path}"):
        onnx.save(model, path, save_as_external_data=weight_bytes(model) > onnx.checker.MAXIMUM_PROTOBUF)
    return path


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="eq_tvm-")  # goes when the process ends


def _missing(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return f"{path} is TensorFlow's: convert it with tf.lite.TFLiteConverter to a .tflite file"
    return f"no such ONNX file: {path}"
