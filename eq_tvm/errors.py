"""The error that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input: one clear line that names the file, layer or option and the way out (exit code 2)."""


def reason(error: BaseException) -> str:
    """What an exception says, in one line: the system's words where it is of the system."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what an exception of TVM's says, without the C++ expression that was false; never empty."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    said = "" if _INTERNAL.search(line) else _CHECK.sub("", line)
    return said or (_UNSAID if line else type(error).__name__)


_CHECK = re.compile(r"^(?:InternalError: )?Check failed: .*?(?: is false| vs\. [^)]*\)) ?: ?")
_INTERNAL = re.compile(r"\bir\.\w+\(|\bT\.\w+\(|span=")  # what TVM's own representation looks like
_UNSAID = "TVM does not take it with these shapes and attributes"


def counted(number: int, one: str, more: str = "") -> str:
    """So many of something, in words: ``1 image``, ``2 images``; `more` where that is not `one` with an s."""
    return f"{number} {one if number == 1 else more or one + 's'}"


@contextmanager
def system_errors(action: str) -> Iterator[None]:
    """Raise a UserError where the system refuses something: ``can't`` `action`, and why."""
    try:
        yield
    except OSError as e:
        raise UserError(f"can't {action}: {reason(e)}") from e
