"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]  # what is done, from 0 to 1, and a message


def no_progress(_done: float, _message: str) -> None:
    """Tell nobody."""


def part_of(progress: Progress, begin: float, end: float) -> Progress:
    """The progress of a part of the work, which goes from `begin` to `end` of the whole."""
    return lambda done, message: progress(begin + done * (end - begin), message)
