"""Relay's text, cut into tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


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
    """The tokens, and last ones of kind ``end``.

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
    yield from [Token("end", "the end of the file", line)] * 3  # parsers look two ahead


class TokenStream:
    """Tokens one after the other, for a parser.

    Its methods raise ValueError, with the line, where the next token is not what it has to be.
    """

    def __init__(self, text: str) -> None:
        self.tokens, self.at = list(tokens(text)), 0

    @property
    def next(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def take(self, text: str) -> bool:
        """Whether the next token is this one, which is then passed."""
        if self.next.text != text or self.next.kind not in ("name", "sign"):
            return False
        self.at += 1
        return True

    def need(self, text: str) -> None:
        """Pass this token, which has to be next."""
        if not self.take(text):
            raise self.unexpected(f"{text!r}")

    def expect(self, kind: str) -> Token:
        """Pass a token of this kind, which has to be next."""
        token = self.next
        if token.kind != kind:
            raise self.unexpected(kind)
        self.at += 1
        return token

    def unexpected(self, wanted: str = "") -> ValueError:
        """That the next token is not what it should be."""
        token = self.next
        return ValueError(f"line {token.line}: {token.text!r}" + (f" where {wanted} should be" if wanted else ""))

    def listed(self, end: str, item: Callable[[], Any]) -> list[Any]:
        """Items between commas, and the end."""
        items = []
        while not self.take(end):
            items.append(item())
            if not self.take(","):
                self.need(end)
                break
        return items

    def skip(self, begin: str, end: str) -> None:
        """What stands between two signs."""
        self.need(begin)
        depth = 1
        while depth:
            if self.next.kind == "end":
                raise self.unexpected(f"{end!r}")
            depth += (self.next.text == begin) - (self.next.text == end) if self.next.kind == "sign" else 0
            self.at += 1
