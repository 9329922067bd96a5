"""Temporary files and directories that the next process removes where this one is killed.

Whoever makes one holds a lock on it (flock) while it is in use. The system takes the lock back when a process ends,
however it ends, so what has our name and no lock was left behind.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "eq_tvm-"


@contextmanager
def temporary_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """A new directory, locked until the context ends; whoever asked for it removes it.

    Parameters
    ----------
    parent : Path
    prefix : str
        Of its name; `left_behind` finds it by the same.

    Raises
    ------
    OSError
    """
    with _locked(parent, prefix, Path.mkdir) as path:
        yield path


@contextmanager
def temporary_file(parent: Path, prefix: str) -> Iterator[Path]:
    """The same for an empty file."""
    with _locked(parent, prefix, lambda path: path.touch(exist_ok=False)) as path:
        yield path


def left_behind(parent: Path, prefix: str) -> Iterator[Path]:
    """Files and directories of this user that such processes made and nobody uses any more.

    Each is locked while it is looked at, so that of several processes one removes it.
    """
    try:
        names = [entry.name for entry in os.scandir(parent) if entry.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        if len(name) != len(prefix) + _RANDOM:
            continue
        with suppress(OSError), _opened(Path(parent, name)) as held:
            if held is not None and os.fstat(held).st_uid == os.geteuid() and _lock(held):
                yield Path(parent, name)


def announce(destination: Path) -> None:
    """Say beside what this process makes temporary files, for whoever waits for it, should it end in the middle."""
    if _listener is not None:
        os.write(_listener, os.fsencode(destination.absolute()) + b"\0")


def announce_to(descriptor: int) -> None:
    """Where `announce` writes from now on: paths, each with a zero behind it."""
    global _listener
    _listener = descriptor


_listener: int | None = None

_RANDOM = 8  # characters behind a prefix


@contextmanager
def _locked(parent: Path, prefix: str, make: Callable[[Path], object]) -> Iterator[Path]:
    while True:
        path = parent / f"{prefix}{secrets.token_hex(_RANDOM // 2)}"
        make(path)
        with _opened(path) as held:
            if held is not None and _is_ours(path, held):
                yield path
                return


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # another process took it for left behind, or it is a link
        yield None
        return
    try:
        yield held
    finally:
        os.close(held)


def _is_ours(path: Path, held: int) -> bool:
    """Whether what was just made is locked now, and was not removed before; where nothing can be locked, it is."""
    if _lock(held) is False:
        return False
    try:
        return os.path.samestat(path.stat(), os.fstat(held))
    except FileNotFoundError:
        return False


def _lock(held: int) -> bool | None:
    """Whether the lock is ours; None where the file system has none for this."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
