"""Files that are made once, and again when what they are made from changes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path


def cached(path: Path, key: str, make: Callable[[], object], fresh: bool = False) -> Path:
    """Return `path`, which `make` writes unless it is there and was made with the same `key`.

    Parameters
    ----------
    path : Path
        A file or a directory.
    key : str
        From `key_of`: it stands next to `path`, in a file whose name ends with ``.key``.
    make : callable
    fresh : bool
        Make it in any case.
    """
    note = path.with_name(f"{path.name}.key")
    if fresh or not path.exists() or not note.exists() or note.read_text() != key:
        note.unlink(missing_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        make()
        note.write_text(key)
    return path


def key_of(*parts: object, files: Iterable[Path] = (), packages: Iterable[str] = ()) -> str:
    """A hash of plain values, of what files hold, and of the versions of packages."""
    digest = hashlib.sha256(json.dumps(parts).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for package in packages:
        digest.update(f"{package}=={importlib.metadata.version(package)};".encode())
    return digest.hexdigest()
