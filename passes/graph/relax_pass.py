"""How a class becomes a pass of TVM's: with a name, what it was given, and a module that it can work on."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import tvm

from .states import check_main


def relax_pass(cls: type) -> Any:
    """Decorate a class with `transform_module` as `tvm.transform.module_pass` does, by the name of the class.

    Such a pass prints its parameters, and refuses a module without ``main``.
    """
    transform = cls.transform_module  # type: ignore[attr-defined]

    @functools.wraps(transform)
    def checked(self: Any, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        check_main(mod)
        return transform(self, mod, context)

    cls.transform_module = checked  # type: ignore[attr-defined]
    made = tvm.transform.module_pass(opt_level=0, name=cls.__name__)(cls)
    made.__repr__ = made.__str__ = _described
    return made


def _described(of: Any) -> str:
    """The pass as one would write it, without what is at its default."""
    given = []
    for name, parameter in parameters(type(of._inst)).items():
        value = getattr(of._inst, name, parameter.default)
        if not (callable(value) or value is parameter.default or _equal(value, parameter.default)):
            given.append(f"{name}={_short(value)}")
    return f"{type(of._inst).__name__}({', '.join(given)})"


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Of a class, with those of its bases that it passes on."""
    found: dict[str, inspect.Parameter] = {}
    for each in cls.__mro__:
        if "__init__" in vars(each) and each is not object:
            named = inspect.signature(each.__init__).parameters.values()  # type: ignore[misc]
            found |= {p.name: p for p in named if p.name not in found and p.name != "self" and p.kind not in _ANY}
    return found


_ANY = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not isinstance(value, dict | np.ndarray) and bool(value == default)


def _short(value: Any) -> str:
    """Arrays by their shapes."""
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} {value.shape}>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_short(each)}" for key, each in value.items()) + "}"
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


_LONG = 200
