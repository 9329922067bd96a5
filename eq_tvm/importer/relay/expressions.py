"""Relay's expressions, as far as networks consist of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TensorType:
    """Shape and dtype of a tensor; extents that are not static are None."""

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Var:
    """A parameter of a function, or what a let binds. `type` is None where it is not written, or no tensor's."""

    name: str
    type: TensorType | None = None


@dataclass(frozen=True, eq=False)
class Constant:
    """An array in the module."""

    value: np.ndarray


@dataclass(frozen=True)
class GlobalVar:
    """Another function of the module."""

    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """A call of an operator, by name, or of a function.

    Attributes
    ----------
    callee : str or Expr
    args : tuple of Expr
    attrs : mapping of str to int, float, bool, str, None, or lists of such
    name : str
        Where the expression came from, as its frontend says; often empty.
    """

    callee: str | Expr
    args: tuple[Expr, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True, eq=False)
class Tuple:
    """Several values."""

    fields: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class TupleGetItem:
    """One of a tuple's values."""

    tuple: Expr
    index: int


@dataclass(frozen=True, eq=False)
class Function:
    """A function; fused ones among them."""

    params: tuple[Var, ...]
    body: Expr


@dataclass(frozen=True, eq=False)
class Let:
    """``let var = value; body``."""

    var: Var
    value: Expr
    body: Expr


@dataclass(frozen=True, eq=False)
class Unsupported:
    """What no network of operators on tensors needs; refused where it is reached."""

    what: str


Expr = Var | Constant | GlobalVar | Call | Tuple | TupleGetItem | Function | Let | Unsupported


@dataclass(frozen=True)
class Module:
    """Functions by name.

    Attributes
    ----------
    functions : dict of str to Function
    version : str
        Of the TVM that saved it; empty where the file does not say.
    """

    functions: dict[str, Function]
    version: str = ""
