"""Reading what must be a file: a FIFO in its place would keep whoever opens it waiting for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_file(path: str | Path) -> BinaryIO:
    """Open a file to read; OSError where there is none, or something else, such as a device."""
    held = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(held).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(held, "rb")
    os.close(held)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is no file", str(path))


def read_file(path: str | Path) -> bytes:
    """All of a file."""
    with open_file(path) as file:
        return file.read()


def read_text(path: str | Path) -> str:
    """All of a file in UTF-8."""
    return read_file(path).decode("utf-8")
