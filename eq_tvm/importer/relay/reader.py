"""Read files of Relay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from eq_tvm.errors import UserError, reason
from eq_tvm.files.regular_file import read_file
from eq_tvm.importer.relay.node_graph import read_module
from eq_tvm.importer.relay.params import read_params
from eq_tvm.importer.relay.text import parse_module
from eq_tvm.importer.relay.to_onnx import to_onnx

_SUFFIXES = (".json", ".txt", ".relay")  # one after the other: net.relay.json is net


def read_relay(path: Path, params: Path | None = None) -> onnx.ModelProto:
    """Read a module of Relay, and make an ONNX model of it.

    Parameters
    ----------
    path : Path
        What ``tvm.ir.save_json(mod)`` or ``mod.astext()`` of TVM 0.7 to 0.19 gave.
    params : Path, optional
        What ``relay.save_param_dict`` gave. By default ``net.relay.params`` or ``net.params`` beside
        ``net.relay.json``, where one of these is there.

    Returns
    -------
    onnx.ModelProto
        Of operator set 17. Parameters of ``main`` that have a value are initializers, the others inputs. Quantized
        networks (``qnn``) have quantize/dequantize pairs, as ONNX Runtime's quantizer writes them.

    Raises
    ------
    UserError
        Files that can't be read, or are none of these; parameters that do not fit; what ONNX can't say: names the
        operator and the way out.
    """
    path = Path(path)
    params = params or _beside(path)
    content = _read(path)
    values: dict[str, np.ndarray] = {}
    if params is not None:
        try:
            values = read_params(_read(params))
        except ValueError as error:
            raise UserError(f"{params}: {error}; save the parameters with relay.save_param_dict") from None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: no text; save the module with tvm.ir.save_json(mod)") from None
    if not text.strip():
        raise UserError(f"{path}: the file is empty")
    try:
        module = read_module(text) if text.lstrip().startswith("{") else parse_module(text)
        return to_onnx(module, values)
    except ValueError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise UserError(f"{path}: expressions nested too deeply; save the module with tvm.ir.save_json(mod)") from None


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise UserError(f"{path}: {reason(error)}") from None


def _beside(path: Path) -> Path | None:
    stem = path
    while stem.suffix in _SUFFIXES:
        stem = stem.with_suffix("")
        candidate = stem.with_name(stem.name + ".params")
        if candidate.exists():
            return candidate
    return None
