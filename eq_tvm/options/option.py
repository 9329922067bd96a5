"""An option: a field of a dataclass, with what people are told about it."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import reprlib
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from eq_tvm.errors import UserError

P = ParamSpec("P")
Options = TypeVar("Options")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Option:
    """What a field of a dataclass of options says, beside its name, type and default.

    Attributes
    ----------
    name : str
        Of the field, which is the keyword of the functions.
    help : str
        For people, in whole sentences.
    default : object
    flag : str
        On the command line; empty for its positional argument.
    metavar : str
        Stands for the value in the command line's help.
    given_as : type
        What the command line reads: str, Path, int, float, bool, or list for a flag that may be repeated.
    choices : tuple of str
        All values, where these are few.
    also : tuple of str
        The names of classes whose objects Python's functions take as well.
    unset : str
        What happens where the option is None, for people.
    parse : callable, optional
        From what the command line reads to the option's value.
    """

    name: str
    help: str
    default: Any
    flag: str
    metavar: str
    given_as: type
    choices: tuple[str, ...]
    also: tuple[str, ...]
    unset: str
    parse: Callable[[Any], Any] | None


def option(
    help: str,
    default: Any = None,
    *,
    flag: str | None = None,
    metavar: str = "",
    given_as: type = Path,
    choices: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    unset: str = "",
    parse: Callable[[Any], Any] | None = None,
) -> Any:
    """A field of a frozen dataclass; the parameters are those of `Option`, its flag by default ``--name``."""
    said = {
        "help": help,
        "default": default,
        "flag": flag,
        "metavar": metavar or "|".join(choices),
        "given_as": given_as,
        "choices": choices,
        "also": also,
        "unset": unset,
        "parse": parse,
    }
    return field(default=default, metadata={Option: said})


def options_of(declared: type) -> list[Option]:
    """All options of a dataclass, in its order."""
    found = []
    for each in fields(declared):
        if said := each.metadata.get(Option):
            flag = f"--{each.name.replace('_', '-')}" if said["flag"] is None else said["flag"]
            found.append(Option(**{**said, "name": each.name, "flag": flag}))
    return found


KINDS: dict[type, tuple[type | tuple[type, ...], str]] = {
    str: (str, "text"),
    Path: ((str, os.PathLike), "a path"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (numbers.Integral, "true or false"),
    list: (Mapping, "a mapping"),
}


def check_values(options: Any) -> None:
    """UserError where an option has a value of another type, or none of those few that it may have."""
    for each in options_of(type(options)):
        value = getattr(options, each.name)
        kind, said = KINDS[each.given_as]
        if value is None and each.default is None:
            continue
        if each.choices and value not in each.choices:
            raise UserError(f"{each.flag} must be one of {', '.join(each.choices)}, not {value}")
        classes = {base.__name__ for base in type(value).__mro__}
        if not isinstance(value, kind) and classes.isdisjoint(each.also):
            given = f"{type(value).__name__} {reprlib.repr(value)}"
            raise UserError(f"{each.flag or each.name} must be {said}, not {given}")


def keywords_of(declared: Callable[P, Options]) -> Callable[[Callable[[Options], Result]], Callable[P, Result]]:
    """Let a function of a dataclass of options take these options as keywords; `help` shows and explains them.

    Parameters
    ----------
    declared : type
        The dataclass.
    """

    def decorate(function: Callable[[Options], Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            known = inspect.signature(declared).parameters
            if unknown := [name for name in kwargs if name not in known]:
                raise TypeError(f"{function.__name__}() has no option '{unknown[0]}'; there are {', '.join(known)}")
            return function(declared(*args, **kwargs))

        returns = inspect.signature(function).return_annotation
        call.__dict__["__signature__"] = inspect.signature(declared).replace(return_annotation=returns)
        before, rule, after = inspect.cleandoc(function.__doc__ or "").partition("\n\nReturns\n-------")
        call.__doc__ = f"{before}\n\nParameters\n----------\n{_described(declared)}{rule}{after}"
        return call

    return decorate


def _described(declared: Any) -> str:
    """The section Parameters of a docstring in numpy's form."""
    types = {each.name: each.type for each in fields(declared)}
    lines = []
    for each in options_of(declared):
        values = f"{{{', '.join(map(repr, each.choices))}}}" if each.choices else types[each.name]
        lines += [
            f"{each.name} : {values}",
            *textwrap.wrap(_explained(each), 116, initial_indent="    ", subsequent_indent="    "),
        ]
    return "\n".join(lines)


def _explained(each: Option) -> str:
    return f"{each.help} By default: {each.unset}." if each.unset else each.help
