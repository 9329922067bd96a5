"""The error that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input: one clear line that names the file, layer or option and the way out (exit code 2)."""


def reason(error: BaseException) -> str:
    """What an exception says, in one line: the system's words where it is of the system."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


@contextmanager
def system_errors(action: str) -> Iterator[None]:
    """Raise a UserError where the system refuses something: ``can't`` `action`, and why."""
    try:
        yield
    except OSError as e:
        raise UserError(f"can't {action}: {reason(e)}") from e
