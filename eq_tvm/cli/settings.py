"""Settings of a project: `eq_tvm.yaml` in the working directory gives the options that the command line does not."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eq_tvm.cli.supervisor import allow_for
from eq_tvm.errors import UserError
from eq_tvm.options.option import KINDS, Option

FILE = "eq_tvm.yaml"


def read_settings(options: Iterable[Option]) -> dict[str, Any]:
    """What the file says, by the names of the options, as a command line would give it; empty where there is no file.

    Keys are the options' flags without dashes, and `model`. An option that may be repeated is a mapping.

    Raises
    ------
    UserError
        The file can't be read, has a key that is no option, or a value that the option does not take.
    """
    if not Path(FILE).exists():
        return {}
    from eq_tvm.files.yaml_file import read_yaml

    entries = read_yaml(FILE, "settings")
    if not isinstance(entries, dict):
        raise UserError(f"{FILE} must map options of compile to their values, as in: target: rpi4")
    known = {key_of(each): each for each in options}
    if unknown := [key for key in entries if key not in known]:
        raise UserError(f"{FILE} has the unknown key {unknown[0]}; there are: {', '.join(known)}")
    return {known[key].name: _given(known[key], key, value) for key, value in entries.items()}


def key_of(each: Option) -> str:
    """What the file calls an option: its flag without the dashes, a positional argument its name."""
    return each.flag.partition("/")[0].removeprefix("--") or each.name


@contextmanager
def named(keys: Sequence[str]) -> Iterator[None]:
    """Let a UserError say which options came from the file: a flag that it names may not have been typed."""
    try:
        yield
    except UserError as e:
        if not keys:
            raise
        raise UserError(f"{e} ({FILE} gives {', '.join(keys)})") from e


def _given(each: Option, key: str, value: Any) -> Any:
    _check(each, key, value)
    if each.given_as is Path:
        allow_for(value)
        return Path(value)
    if each.given_as is not list:
        return value
    texts = [f"{name}={_joined(item)}" for name, item in value.items()]
    try:
        if each.parse:
            each.parse(texts)
    except UserError as e:
        raise UserError(f"{FILE}: {key}: {e}") from e
    return texts


def _check(each: Option, key: str, value: Any) -> None:
    kind, said = (str, "a path") if each.given_as is Path else KINDS[each.given_as]
    if not isinstance(value, kind) or isinstance(value, bool) != (each.given_as is bool):
        raise UserError(f"{FILE}: {key} must be {said}, not {reprlib.repr(value)}")
    if each.choices and value not in each.choices:
        raise UserError(f"{FILE}: {key} must be one of {', '.join(each.choices)}, not {value}")


def _joined(item: Any) -> str:
    return ",".join(map(str, item)) if isinstance(item, list) else str(item)
