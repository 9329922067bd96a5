"""Relay's text, cut into tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Token(NamedTuple):
    """A piece of text.

    Attributes
    ----------
    kind : str
        ``local`` (%x), ``global`` (@f), ``name``, ``number``, ``string``, ``sign`` or ``end``.
    text : str
        Without quotes, % and @.
    line : int
        Where it begins, from 1.
    """

    kind: str
    text: str
    line: int


_PATTERN = re.compile(
    r"""
    (?P<blank>\s+|/\*.*?\*/|//[^\n]*|\#\[version\s*=\s*"[^"]*"\]|\Av\d+\.\d+\.\d+)
    |%(?P<local>\d+(?!\w)|[\w.]+(?:(?:::|/|-(?=[a-zA-Z])|:(?=\d))[\w.]+)*)
                                                   # as frontends call them: %layer1.0.weight, %conv/weights:0
    |@(?P<global>[\w.]+)
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?:[fiu]\d*)?(?!\w)|(?:inf|nan)f?\d*(?!\w))
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    |"(?P<string>(?:[^"\\]|\\.)*)"
    |(?P<sign>->|=>|==|!=|<=|>=|[-+*/<>=(){}\[\],;:.?])
    """,
    re.VERBOSE | re.DOTALL,
)


def tokens(text: str) -> Iterator[Token]:
    """The tokens, and a last one of kind ``end``.

    Raises
    ------
    ValueError
        A character that begins none; names the line.
    """
    at, line = 0, 1
    while at < len(text):
        found = _PATTERN.match(text, at)
        if found is None:
            raise ValueError(f"line {line}: unexpected {text[at : at + 20].split(chr(10))[0]!r}")
        if found.lastgroup not in (None, "blank"):
            yield Token(found.lastgroup, found[found.lastgroup], line)
        line, at = line + text.count("\n", at, found.end()), found.end()
    yield Token("end", "the end of the file", line)
