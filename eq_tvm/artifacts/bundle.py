"""The bundle: a directory with a compiled network and everything needed to run it.

model.so      the network as a shared object for TVM's runtime
network.onnx  the network as it was quantized, which `export` gives to other tools
bundle.json   the description below, with the SHA-256 of each file
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from eq_tvm import example
from eq_tvm.artifacts import directory
from eq_tvm.artifacts.form import misplaced
from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.regular_file import read_file, read_text
from eq_tvm.preprocess import Preprocess

SCHEMA = 1
LIBRARY = "model.so"
NETWORK = "network.onnx"
DESCRIPTION = "bundle.json"


@dataclass(frozen=True)
class Counted:
    """An axis with as many rows as the data choose: what is beyond them means nothing.

    Attributes
    ----------
    axis : int
    count : str
        The output that says how many there are, int64 (1).
    """

    axis: int
    count: str


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the network: shape with the batch, numpy's name of the dtype.

    `rows`, where the data choose how many rows an output has: the shape then has room for all that there can be.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    rows: Counted | None = None


def results_by_name(outputs: Sequence[TensorInfo], results: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What the compiled function returns, by the names of the file's outputs, with those rows only that there are."""
    named = {info.name: result for info, result in zip(outputs, results, strict=True)}
    counted = {info.name: info.rows for info in outputs if info.rows is not None}
    counts = {rows.count: int(named[rows.count].item()) for rows in counted.values()}
    for name, rows in counted.items():
        named[name] = named[name].take(range(counts[rows.count]), rows.axis)
    return {name: result for name, result in named.items() if name not in counts}


@dataclass(frozen=True)
class Bundle:
    """The description of a compiled network.

    Attributes
    ----------
    model : str
        Name of the network: the file's, without its ending.
    model_sha256 : str
        Of the file.
    inputs, outputs : tuple of TensorInfo
        In the order in which the compiled function takes and returns them, by their names in the file.
    preprocess : Preprocess, optional
        From pixels to the input.
    scheme : str
        ``int6``, ``int7``, ``int8``, ``w8a12`` or ``float32``; ``own`` of a network that came quantized.
    calibration : dict, optional
        None where nothing was quantized. Otherwise `calibrated` (False: scales are from random images, good for
        timing only), `method`, `activation_range`, `images` (how many), `images_sha256` (of what the network was
        given), `source`, `layers`, one record per layer, `kept`, those kept at a wider type (`layer`, `kind`,
        `reason`), `float`, those that no scheme quantizes (`layer`, `op`), and `loss`: with ``--max-drop`` what it led
        to, as `eq_tvm.quantizing.max_drop.Kept.report` says.
    target : dict
        The fields of the `TargetSpec`, and `tvm`: the target as TVM saw it.
    versions : dict
        Of the packages that compiled it, of LLVM and of the linker.
    kernels : list of dict
        The kernel of each convolution and dense layer, in the order in which they run: `layer`, `function` (as the
        shared object calls it), `kernel` (algorithm, instruction, tiling), `macs` (multiply-accumulates),
        `instruction`, `multiplications` (how many that algorithm takes), `cycles` (of one core, estimated),
        `weight_bytes` (as the kernel reads them), `small_weight_bytes` (the same with ``--optimize size``),
        `considered` and `left_out`: the other kernels (see `passes.lower.kernel_record`).
    islands : dict of str to int
        The functions that compute in floats alone, between the integer ones, and how often a run calls each.
    optimize : str
        ``speed`` or ``size``: what they were chosen for.
    not_exported : str
        Why there is no ``network.onnx``; empty where there is.
    constants : dict of str to numbers
        Inputs of the network that have this value for good (``--constant``).
    model_file : str
        The file's name; empty where the network came from memory.
    sample : dict, optional
        What a run on noise gave when it was compiled: see `eq_tvm.running.sample`.
    path : Path, optional
        The directory, once it is written.
    """

    model: str
    model_sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    preprocess: Preprocess | None
    scheme: str
    calibration: dict[str, Any] | None
    target: dict[str, Any]
    versions: dict[str, str]
    kernels: list[dict[str, Any]]
    islands: dict[str, int] = field(default_factory=dict)
    optimize: str = "speed"
    not_exported: str = "an older eq_tvm compiled it"
    constants: dict[str, Any] = field(default_factory=dict)
    model_file: str = ""
    sample: dict[str, Any] | None = None
    path: Path | None = None

    @property
    def library(self) -> Path:
        """The shared object of a bundle that is written."""
        if self.path is None:
            raise ValueError(f"the bundle of {self.model} is not written")
        return self.path / LIBRARY

    @property
    def is_example(self) -> bool:
        """Whether it is the embedded example network."""
        return self.model_sha256 == _sha256(example.MODEL.read_bytes())

    @property
    def calibrated(self) -> bool:
        """Whether results mean anything: False only for scales from random images."""
        return self.calibration is None or self.calibration["calibrated"]


def check_destination(path: str | Path) -> Path:
    """The path, if a bundle may be written there: nothing, an empty directory, or a bundle (which is replaced)."""
    return directory.check_destination(path, "bundle", _foreign)


def write(
    bundle: Bundle,
    path: str | Path,
    write_library: Callable[[str], dict[str, Any] | None],
    network: bytes | None = None,
) -> Bundle:
    """Write a bundle: complete in a temporary directory beside `path` first, then renamed.

    Parameters
    ----------
    bundle : Bundle
    path : str or Path
        The directory to make. An existing bundle there is replaced; anything else is left alone (`UserError`).
    write_library : callable
        Writes the shared object to the file name it is given; gives the bundle's `sample`, or None.
    network : bytes, optional
        The quantized network, as an ONNX file has it.

    Returns
    -------
    Bundle
        The same with its `path`.
    """
    path = check_destination(path).absolute()
    with directory.replacing(path, "bundle") as new:
        bundle = replace(bundle, sample=write_library(str(new / LIBRARY)))
        description = _describe(bundle)
        if network is not None:
            (new / NETWORK).write_bytes(network)
        files = [LIBRARY, *([] if network is None else [NETWORK])]
        description["files"] = {name: {"sha256": _sha256((new / name).read_bytes())} for name in files}
        description["files"][DESCRIPTION] = {"sha256": _own_sha256(description)}
        (new / DESCRIPTION).write_text(_text(description), encoding="utf-8")
    return replace(bundle, path=path)


def read(path: str | Path) -> Bundle:
    """Read a bundle's description and check its files.

    Raises
    ------
    UserError
        It is no bundle, or of a newer schema, or a file is missing or altered (named).
    """
    return directory.in_one_piece(Path(path), lambda: _read(Path(path)))


def _read(path: Path) -> Bundle:
    with system_errors(f"read {path}"):
        if not path.exists():
            directory.restore(path)
        if not path.exists():
            raise UserError(f"no such bundle: {path}")
        if not path.is_dir():
            raise UserError(
                f"{path} is no bundle, which is a directory: of a network python -m eq_tvm compile {path} makes one"
            )
    try:
        description = json.loads(read_text(path / DESCRIPTION))
        schema = description["schema"]
        if not isinstance(schema, int):
            raise TypeError
    except OSError as e:
        raise UserError(f"{path} is no bundle, or incomplete: can't read {DESCRIPTION}: {e.strerror}") from e
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise UserError(f"the bundle {path} is damaged: {DESCRIPTION} can't be understood; compile it again") from e
    if schema > SCHEMA:
        raise UserError(
            f"the bundle {path} has schema {schema}, newer than this eq_tvm reads ({SCHEMA}): update eq_tvm"
        )
    if (place := misplaced(description)) is not None:
        raise UserError(
            f"the bundle {path} is damaged: in {DESCRIPTION}, {place or 'all'} is not as it should be; compile it again"
        )
    _check_files(path, description)
    return _restore_description(path, description)


def read_network(path: str | Path) -> bytes:
    """The quantized network of a bundle, as an ONNX file has it; UserError as `read`, and where there is none."""
    path = Path(path)

    def read_it() -> bytes:
        bundle = _read(path)
        if bundle.not_exported:
            raise UserError(f"{path} has no quantized network to export: {bundle.not_exported}")
        return _checked(path, NETWORK, json.loads(read_text(path / DESCRIPTION))["files"])

    return directory.in_one_piece(path, read_it)


def _foreign(path: Path) -> str:
    """A name in a directory that makes it no bundle."""
    names = sorted(file.name for file in path.iterdir())
    if others := [name for name in names if name not in (LIBRARY, NETWORK, DESCRIPTION)]:
        return others[0]
    try:
        files = json.loads(read_text(path / DESCRIPTION))["files"]
        return "" if LIBRARY in files and DESCRIPTION in files else DESCRIPTION
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return names[0]


def _describe(bundle: Bundle) -> dict[str, Any]:
    values = {name: value for name, value in asdict(bundle).items() if name != "path"}
    return {"schema": SCHEMA, **json.loads(json.dumps(values))}


def _restore_description(path: Path, description: dict[str, Any]) -> Bundle:
    known = {field.name for field in fields(Bundle)} - {"path"}
    values = {name: value for name, value in description.items() if name in known}
    for key in ("inputs", "outputs"):
        values[key] = tuple(map(_tensor, values[key]))
    if values["preprocess"] is not None:
        values["preprocess"] = Preprocess.from_dict(values["preprocess"], f"preprocessing in {path / DESCRIPTION}")
    return Bundle(**values, path=path)


def _tensor(values: dict[str, Any]) -> TensorInfo:
    rows = values.get("rows")
    return TensorInfo(values["name"], tuple(values["shape"]), values["dtype"], rows and Counted(**rows))


def _check_files(path: Path, description: dict[str, Any]) -> None:
    files = description["files"]
    if _own_sha256(description) != files[DESCRIPTION]["sha256"]:
        raise UserError(_altered(path, DESCRIPTION))
    _checked(path, LIBRARY, files)


def _checked(path: Path, name: str, files: dict[str, Any]) -> bytes:
    """What a file has, if that is what was noted."""
    try:
        content = read_file(path / name)
    except OSError as e:
        raise UserError(f"the bundle {path} is incomplete: can't read {name}: {e.strerror}") from e
    if _sha256(content) != files[name]["sha256"]:
        raise UserError(_altered(path, name))
    return content


def _altered(path: Path, name: str) -> str:
    return f"the bundle {path} was altered: {name} has another SHA-256 than noted; compile it again"


def _own_sha256(description: dict[str, Any]) -> str:
    """Of the description without its own entry, in one way of writing it."""
    files = {name: entry for name, entry in description["files"].items() if name != DESCRIPTION}
    return _sha256(json.dumps({**description, "files": files}, sort_keys=True).encode())


def _text(description: dict[str, Any]) -> str:
    """JSON with one line for each entry at the top."""
    entries = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in description.items())
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
