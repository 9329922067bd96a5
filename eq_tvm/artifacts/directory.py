"""Directories that are written whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.leftovers import PREFIX, announce, left_behind, temporary_directory
from eq_tvm.files.whole_file import check_folder, followed

Result = TypeVar("Result")
ATTEMPTS, PAUSE = 10, 0.05  # to read a directory that is being replaced, seconds


def check_destination(path: str | Path, kind: str, foreign: Callable[[Path], str]) -> Path:
    """The path, if it may be written: nothing, an empty directory, or one of its kind (which is replaced).

    Of a link, what it names.

    Parameters
    ----------
    path : str or Path
    kind : str
        What is written, for people: ``bundle``.
    foreign : callable (Path) -> str
        The name of something in a directory that makes it none of this kind, and would be lost; empty if there is none.

    Raises
    ------
    UserError
        Something else is there, or nothing can be put there.
    """
    with system_errors(f"write the {kind} {path}"):
        path = followed(path)
        if path.is_dir() and path.resolve() in (here := Path.cwd(), *here.parents):
            raise UserError(f"{path} is, or has in it, the directory that this runs in: choose a new one as --output")
        if path.is_mount():
            raise UserError(f"{path} is a mount point, which can't be replaced: choose a directory in it as --output")
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: it is not overwritten; choose another --output")
        if path.is_dir() and any(path.iterdir()) and (name := foreign(path)):
            raise UserError(
                f"{path} is a directory with {name}, which is not of a {kind}: it is not overwritten; choose another "
                "--output"
            )
        check_folder(path.absolute().parent, kind)
    return path


@contextmanager
def replacing(path: Path, kind: str) -> Iterator[Path]:
    """A new directory to fill, which then takes the place of `path`; of a failure nothing stays behind.

    Nor of a process that was killed: the next one removes what it left.

    Parameters
    ----------
    path : Path
        Absolute. What is there must be a directory: see `check_destination`.
    kind : str
        As there.
    """
    announce(path)
    with system_errors(f"write the {kind} {path}"):
        restore(path)
        with temporary_directory(path.parent, _prefix(path)) as temporary:
            try:
                new = temporary / "new"
                new.mkdir()
                yield new
                _put(new, path, temporary)
            except BaseException:
                _put_back(temporary, path)
                raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def restore(path: Path) -> None:
    """Remove what killed processes left of writing `path`, and put back what one of them had moved aside."""
    for left in left_behind(path.absolute().parent, _prefix(path)):
        _put_back(left, path)
        shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):  # there is none, unless a file was to be written
            left.unlink()


def in_one_piece(path: Path, read: Callable[[], Result]) -> Result:
    """What `read` makes of a directory's files; again where they were replaced in between.

    Raises
    ------
    UserError
        They are replaced again and again.
    """
    for _ in range(ATTEMPTS):
        before = _files(path)
        try:
            result = read()
        except Exception:
            if before is not None and before == _files(path):
                raise
            time.sleep(PAUSE)  # one directory takes another's place in two steps
            if _files(path) is None:
                raise
        else:
            if before == _files(path):
                return result
    raise UserError(f"{path} is replaced again and again: use a copy")


def _files(path: Path) -> set[tuple[str | int, ...]] | None:
    """Tells a directory's files from others at the same place; None where there is none."""
    try:
        found = [(entry.name, entry.stat()) for entry in os.scandir(path)]
    except OSError:
        return None
    return {(name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found}


def _prefix(path: Path) -> str:
    return f".{PREFIX}{path.name[:40]}-"


def _put(new: Path, path: Path, aside: Path) -> None:
    """Move `new` to `path`, and what is there aside; again where another process did the same in between."""
    for attempt in range(10):
        if _exchange(new, path):
            return
        with suppress(FileNotFoundError):
            path.rename(aside / f"{_OLD}{attempt}")
        try:
            new.rename(path)
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == 9:
                raise
        else:
            return


def _exchange(one: Path, other: Path) -> bool:
    """Let two directories change places in one step, so that there is always one; False where that can't be."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):  # a C library without it
        return False
    return not renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def _put_back(aside: Path, path: Path) -> None:
    """Put the replaced directory back, unless another process has put one there."""
    if old := sorted(aside.glob(f"{_OLD}*")):
        with suppress(OSError):
            old[-1].rename(path)


_OLD = "old"
