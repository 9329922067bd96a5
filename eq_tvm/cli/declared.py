"""Declared options (see `eq_tvm.options`) as parameters of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from eq_tvm.cli.settings import key_of, read_settings
from eq_tvm.options.option import Option, options_of

_Command = Callable[..., None]


def takes(
    declared: type, from_file: bool = False, **metavars: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a dataclass, before those of its own.

    Parameters
    ----------
    declared : type
        The dataclass. The command gets a dict of all its options as its first argument.
    from_file : bool
        Whether `eq_tvm.cli.settings.FILE` gives the options that the command line does not. The command's second
        argument then is a list of those that came from there, as that file calls them.
    metavars : str
        What stands for the values of some options here.
    """
    options = options_of(declared)

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(function, eval_str=True).parameters.values())[1 + from_file :]
        ]

        def command(ctx: typer.Context, **given: Any) -> None:
            settings = read_settings(options) if from_file else {}
            typed = [each.name for each in options if _is_typed(ctx, each.name)]
            found = [each for each in options if each.name in settings and each.name not in typed]
            given |= {each.name: settings[each.name] for each in found}
            values = {each.name: _value(each, given.pop(each.name)) for each in options}
            function(values, *([[key_of(each) for each in found]] * from_file), **given)

        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context, *(_parameter(each, metavars.get(each.name, each.metavar)) for each in options), *own]
        command.__dict__["__signature__"] = inspect.Signature(parameters)
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def changed(declared: type, values: dict[str, Any]) -> list[str]:
    """The flags of those options that are not at their defaults."""
    return [each.flag for each in options_of(declared) if each.flag and values[each.name] != each.default]


def _is_typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _value(each: Option, given: Any) -> Any:
    return given if each.parse is None or given is None else each.parse(given)


def _targets() -> Iterable[str]:
    from eq_tvm.targets import load_targets

    return load_targets()


_WORDS: dict[str, Callable[[], Iterable[str]]] = {"target": _targets}  # what a shell completes, beside choices


def _parameter(each: Option, metavar: str) -> inspect.Parameter:
    shown: dict[str, Any] = {"metavar": metavar or None, "show_default": each.unset or True}
    if words := (lambda: each.choices) if each.choices else _WORDS.get(each.name):
        shown["autocompletion"] = lambda incomplete: [word for word in words() if word.startswith(incomplete)]
    described = typer.Option(each.flag, help=each.help, **shown) if each.flag else typer.Argument(**shown)
    kind = {
        list: list[str] | None,
        bool: bool | None if each.default is None else bool,
        str: str | None,
        int: int | None,
        float: float | None,
        Path: Path | None,
    }
    return inspect.Parameter(
        each.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=each.default,
        annotation=Annotated[kind[each.given_as], described],
    )
