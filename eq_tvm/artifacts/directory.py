"""Directories that are written whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.whole_file import check_folder, followed


def check_destination(path: str | Path, kind: str, mark: str) -> Path:
    """The path, if it may be written: nothing, an empty directory, or one of its kind (which is replaced).

    Of a link, what it names.

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
        Something else is there, or nothing can be put there.
    """
    with system_errors(f"write the {kind} {path}"):
        path = followed(path)
        if path.is_mount():
            raise UserError(f"{path} is a mount point, which can't be replaced: choose a directory in it as --output")
        if path.is_dir() and any(path.iterdir()) and not (path / mark).is_file():
            raise UserError(f"{path} is a directory but not a {kind}: it is not overwritten; choose another --output")
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: it is not overwritten; choose another --output")
        check_folder(path.absolute().parent, kind)
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
    with system_errors(f"write in {path.parent}"):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.parent))
    try:
        with system_errors(f"write the {kind} {path}"):
            new = temporary / "new"
            new.mkdir()
            yield new
            _exchange(new, path, temporary)
    except BaseException:
        _restore(temporary, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, path: Path, aside: Path) -> None:
    """Move what is at `path` aside and `new` there; again where another process did the same in between."""
    for attempt in range(10):
        with suppress(FileNotFoundError):
            path.rename(aside / f"{_OLD}{attempt}")
        try:
            new.rename(path)
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == 9:
                raise
        else:
            return


def _restore(aside: Path, path: Path) -> None:
    """Put the replaced directory back, unless another process has put one there."""
    if old := sorted(aside.glob(f"{_OLD}*")):
        with suppress(OSError):
            old[-1].rename(path)


_OLD = "old"
