"""Directories that are written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eq_tvm.errors import UserError


def check_destination(path: str | Path, kind: str, mark: str) -> Path:
    """The path, if it may be written: nothing, an empty directory, or one of its kind (which is replaced).

    Parameters
    ----------
    path : str or Path
    kind : str
        What is written, for people: ``bundle``.
    mark : str
        A file that each directory of this kind has.

    Raises
    ------
    UserError
        Something else is there, or nothing to put it in.
    """
    path = Path(path)
    if path.is_dir() and any(path.iterdir()) and not (path / mark).is_file():
        raise UserError(f"{path} is a directory but not a {kind}: it is not overwritten; choose another --output")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file: it is not overwritten; choose another --output")
    if not path.absolute().parent.is_dir():
        raise UserError(f"the directory {path.absolute().parent} for the {kind} does not exist")
    return path


@contextmanager
def replacing(path: Path, kind: str) -> Iterator[Path]:
    """A new directory to fill, which then takes the place of `path`; of a failure nothing stays behind.

    Parameters
    ----------
    path : Path
        Absolute. What is there must be a directory: see `check_destination`.
    kind : str
        As there.
    """
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as e:
        raise UserError(f"can't write in {path.parent}: {e.strerror}") from e
    try:
        new = temporary / "new"
        new.mkdir()
        yield new
        if path.exists():
            path.rename(temporary / "old")
        new.rename(path)
    except OSError as e:
        raise UserError(f"can't write the {kind} {path}: {e.strerror or e}") from e
    finally:
        _restore(temporary / "old", path)
        shutil.rmtree(temporary, ignore_errors=True)


def _restore(old: Path, path: Path) -> None:
    """Put the replaced directory back where the new one did not make it."""
    if old.exists() and not path.exists():
        old.rename(path)
