"""The wheel of the eq_tvm that runs: made of its own files, so that neither its sources nor a build is needed."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import io
import re
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import eq_tvm
import eq_tvm.passes
import eq_tvm.schedules
from eq_tvm.errors import UserError

DISTRIBUTION = "eq-tvm"
TIME = (1980, 1, 1, 0, 0, 0)  # of all files in it: the first that a zip can hold
_KINDS = {".py", ".yaml", ".onnx", ".npz", ".c", ".h", ".hpp", ".cmake", ".pc", ".css", ".html", ".js", ".txt"}
_WHEEL = "Wheel-Version: 1.0\nGenerator: eq_tvm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@functools.cache
def wheel() -> tuple[str, bytes]:
    """Its file name and its content: the same bytes for the same eq_tvm."""
    distribution = _distribution()
    name = f"eq_tvm-{distribution.version}"
    files = {**dict(_modules()), **dict(_described(distribution, f"{name}.dist-info"))}
    record = f"{name}.dist-info/RECORD"
    lines = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in sorted(files.items())]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as whole:
        for path, content in sorted(files.items(), key=lambda file: (".dist-info/" in file[0], file[0])):
            entry = zipfile.ZipInfo(path, TIME)
            entry.external_attr, entry.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            whole.writestr(entry, content)
    return f"{name}-py3-none-any.whl", archive.getvalue()


def requirements() -> list[str]:
    """What it needs to run, each package with exactly the version that is installed here."""
    needed = _distribution().requires or []
    names = sorted(re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed if "extra ==" not in line)
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def _distribution() -> Distribution:
    """Of what is installed: in a clone, what a build left there is found first."""
    found = list(importlib.metadata.distributions(name=DISTRIBUTION))
    installed = [each for each in found if each.read_text("METADATA")]
    if not installed:
        raise UserError("eq_tvm is not installed here, so no wheel can be made of it: pip install . in its sources")
    return installed[0]


def _modules() -> Iterator[tuple[str, bytes]]:
    """In a clone, two of the packages are beside the others."""
    for package in (eq_tvm, eq_tvm.passes, eq_tvm.schedules):
        inside = package.__name__.replace(".", "/")
        for folder in map(Path, package.__path__):
            for file in folder.rglob("*"):
                if file.suffix in _KINDS and "__pycache__" not in file.parts and file.is_file():
                    yield f"{inside}/{file.relative_to(folder).as_posix()}", file.read_bytes()


def _described(distribution: Distribution, folder: str) -> Iterator[tuple[str, bytes]]:
    for name in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        if text := distribution.read_text(name):
            yield f"{folder}/{name}", text.encode()
    yield f"{folder}/WHEEL", _WHEEL.encode()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
