"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from eq_tvm.errors import UserError, system_errors
from eq_tvm.files.leftovers import PREFIX, announce, left_behind, temporary_file


def check_destination(
    path: str | Path, *, endings: Sequence[str] = (), inputs: Iterable[str | Path | None] = ()
) -> Path:
    """Where to write, if a file may be there: nothing, or a file, which is replaced (of a link the one it names).

    Its name must have one of the endings, where some are given, so that no file of another kind is replaced.

    Raises
    ------
    UserError
        Something else is there, one of the inputs, or part of a bundle; or nothing can be put there.
    """
    with system_errors(f"write {path}"):
        path = followed(path)
        if any(each is not None and path.exists() and Path(each).exists() and path.samefile(each) for each in inputs):
            raise UserError(f"{path} would replace an input: choose another --output")
        if _is_bundle(path.absolute().parent):
            raise UserError(f"{path} is inside of a bundle: choose another --output")
        if path.exists() and not path.is_file():
            raise UserError(f"can't write {path}: there is something that is no file; choose another --output")
        check_folder(path.absolute().parent, path.name)
    if endings and path.suffix.lower() not in endings:
        raise UserError(f"the output must end with {' or '.join(endings)}, not {path}")
    return path


def check_folder(folder: Path, what: str) -> None:
    """Raise a UserError where `what` can't be put into a directory."""
    if not folder.is_dir():
        raise UserError(f"the directory {folder} for the {what} does not exist")
    with system_errors(f"write in {folder}"), tempfile.TemporaryFile(dir=folder):
        pass


def make_folder(folder: Path, what: str, option: str) -> None:
    """Make a directory for `what`, if it is not there; UserError where none can be put there, or a bundle has it."""
    with system_errors(f"write to the directory {folder}"):
        if any(map(_is_bundle, (resolved := folder.resolve(), *resolved.parents))):
            raise UserError(f"{option} {folder} is inside of a bundle: choose another directory")
        folder.mkdir(parents=True, exist_ok=True)
        check_folder(folder, what)


def _is_bundle(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("bundle.json", "model.so"))


def followed(path: str | Path) -> Path:
    """The path, or, if it is a link, what it names, whether that is there or not."""
    return Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)


def write_whole(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a new file, which then takes the place of `path`; of a failure nothing stays behind.

    What a process that was killed left beside it is removed.

    Raises
    ------
    OSError
    """
    path = followed(path)
    announce(path)
    prefix = f".{PREFIX}{path.name[:40]}-"
    for old in left_behind(path.parent, prefix):
        old.unlink()
    with temporary_file(path.parent, prefix) as new:
        try:
            with new.open("wb") as file:
                write(file)
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Of the processes that change a file in a directory by what is in it, one at a time, where that can be locked."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
