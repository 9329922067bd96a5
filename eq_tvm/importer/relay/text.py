"""Relay's text form, as ``mod.astext()`` and ``str(mod)`` write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from eq_tvm.importer.relay.expressions import (
    Call,
    Constant,
    Expr,
    Function,
    GlobalVar,
    Let,
    Module,
    TensorType,
    Tuple,
    TupleGetItem,
    Unsupported,
    Var,
)
from eq_tvm.importer.relay.node_graph import read_metadata
from eq_tvm.importer.relay.tokens import TokenStream

_METADATA = re.compile(r"^\s*(?:#\[metadata\]|METADATA:)", re.MULTILINE)


def parse_module(text: str) -> Module:
    """The module; a function or an expression alone becomes one's ``main``.

    Raises
    ------
    ValueError
        What is no Relay, or truncated; names the line. Constants that the text leaves out.
    """
    parts = _METADATA.split(text, maxsplit=1)
    return Module(_Parser(parts[0], read_metadata(parts[1]) if len(parts) > 1 else {}).module())


_BINARY: tuple[Mapping[str, str], ...] = (  # the loosest first
    {
        "==": "equal",
        "!=": "not_equal",
        "<": "less",
        "<=": "less_equal",
        ">": "greater",
        ">=": "greater_equal",
    },
    {"+": "add", "-": "subtract"},
    {"*": "multiply", "/": "divide"},
)

_LITERALS = {"True": True, "False": False}
_SUFFIXES = {"f": "float", "i": "int", "u": "uint"}


class _Parser(TokenStream):
    """Recursive descent. Only expressions that are written inside each other recurse: networks come line by line."""

    def __init__(self, text: str, metadata: dict[str, list[Any]]) -> None:
        super().__init__(text)
        self.metadata = metadata
        self.scope: dict[str, Expr] = {}
        self.free: list[Var] = []

    def module(self) -> dict[str, Function]:
        functions: dict[str, Function] = {}
        while self.next.kind != "end":
            if self.take("def"):
                name = self.expect("global").text
                functions[name] = self.function()
            elif self.take("type") or self.take("extern"):
                self.skip_definition()
            else:
                if functions:
                    raise self.unexpected()
                body = self.statements("end")
                main = body if isinstance(body, Function) else Function(tuple(self.free), body)
                functions["main"] = main
        if not functions:
            raise ValueError("it has no function")
        return functions

    def skip_definition(self) -> None:
        while self.next.text not in ("{", "def") and self.next.kind != "end":
            self.at += 1
        if self.next.text == "{":
            self.skip("{", "}")

    # Functions and what they consist of

    def function(self) -> Function:
        """From the type parameters, or the parameters, on."""
        outer = self.scope
        self.scope = dict(outer)
        if self.next.text == "[":
            self.skip("[", "]")
        self.need("(")
        params = [param for param in self.listed(")", self.parameter) if param is not None]
        if self.take("->"):
            self.type()
        body = self.block()
        self.scope = outer
        return Function(tuple(params), body)

    def parameter(self) -> Var | None:
        if self.next.kind != "local":  # an attribute of the function
            if self.next.kind == "string":
                self.at += 1
            else:
                self.expect("name")
            self.need("=")
            self.attribute()
            return None
        name = self.expect("local").text
        if self.next.text == "{":
            self.skip("{", "}")
        return self.bind(name)

    def bind(self, name: str) -> Var:
        """A variable, and its type if that follows."""
        var = Var(name, self.type() if self.take(":") else None)
        self.scope[name] = var
        return var

    def block(self) -> Expr:
        self.need("{")
        outer = self.scope
        self.scope = dict(outer)
        body = self.statements("}")
        self.need("}")
        self.scope = outer
        return body

    def statements(self, end: str) -> Expr:
        """Bindings, and the expression behind them."""
        lets: list[tuple[Var, Expr]] = []
        while True:
            following = self.tokens[self.at + 1].text if self.next.kind != "end" else ""
            if self.take("free_var"):
                self.free.append(self.bind(self.expect("local").text))
                self.take(";")
            elif self.take("let"):
                var = self.bind(self.expect("local").text)
                self.need("=")
                lets.append((var, self.expression()))
                self.need(";")
            elif self.next.kind == "local" and following == "=":
                name = self.expect("local").text
                self.need("=")
                self.scope[name] = self.expression()
                self.need(";")
            else:
                body = self.expression()
                if not self.take(";") or self.next.kind == end or self.next.text == end:
                    break  # else its value is not used
        if self.next.kind != end and self.next.text != end:
            raise self.unexpected(f"{end!r}")
        for var, value in reversed(lets):
            body = Let(var, value, body)
        return body

    def expression(self, level: int = 0) -> Expr:
        if level == len(_BINARY):
            return self.applied()
        left = self.expression(level + 1)
        while self.next.kind == "sign" and self.next.text in _BINARY[level]:
            operator = _BINARY[level][self.next.text]
            self.at += 1
            left = Call(operator, (left, self.expression(level + 1)))
        return left

    def applied(self) -> Expr:
        """An operand, and what is called or taken of it."""
        value: Expr | str = self.operand()
        while True:
            if self.next.text == "(" and self.next.kind == "sign":
                value = self.call(value)
            elif self.next.text == "." and self.next.kind == "sign":
                self.at += 1
                for field in self.expect("number").text.split("."):  # %1.0.2 has the number 0.2
                    value = TupleGetItem(_whole(value), int(field))
            else:
                return _whole(value)

    def call(self, callee: Expr | str) -> Expr:
        self.need("(")
        args: list[Expr] = []
        attrs: dict[str, Any] = {}

        def argument() -> None:
            if self.next.kind == "name" and self.tokens[self.at + 1].text == "=":
                name = self.expect("name").text
                self.need("=")
                attrs[name] = self.attribute()
            elif self.next.text == "meta" and self.tokens[self.at + 2].text.startswith("relay.attrs."):
                self.at += 1
                attrs.update(self.meta())
            else:
                args.append(self.expression())

        self.listed(")", argument)
        return Call(callee, tuple(args), attrs)

    def operand(self) -> Expr | str:
        token = self.next
        if token.kind == "local":
            return self.local()
        if token.kind == "global":
            self.at += 1
            return GlobalVar(token.text)
        if token.kind == "number" or (token.text == "-" and self.tokens[self.at + 1].kind == "number"):
            return Constant(self.number())
        if token.kind == "name":
            return self.named()
        if self.take("-"):
            return Call("negative", (self.applied(),))
        if self.take("("):
            return self.parenthesized()
        if token.text == "{" and token.kind == "sign":
            return self.block()
        raise self.unexpected("an expression")

    def local(self) -> Expr:
        """A variable; digits behind a point are those of its name, if there is such a name."""
        token = self.expect("local")
        name, fields = token.text, []
        while name not in self.scope:
            name, point, index = name.rpartition(".")
            if not point or not index.isdigit():
                raise ValueError(f"line {token.line}: no variable %{token.text} is defined before")
            fields.append(int(index))
        value = self.scope[name]
        for field in reversed(fields):
            value = TupleGetItem(value, field)
        return value

    def parenthesized(self) -> Expr:
        fields = [] if self.take(")") else [self.expression()]
        if not fields:
            return Tuple(())
        if self.take(")"):
            return fields[0]
        self.need(",")
        return Tuple((*fields, *self.listed(")", self.expression)))

    def named(self) -> Expr | str:
        token = self.expect("name")
        if token.text == "fn":
            return self.function()
        if token.text == "meta":
            value = self.meta()
            return Constant(value) if isinstance(value, np.ndarray) else Unsupported("metadata as a value")
        if token.text in _LITERALS:
            return Constant(np.array(_LITERALS[token.text]))
        if token.text == "if":
            self.skip("(", ")")
            self.skip("{", "}")
            self.need("else")
            self.skip("{", "}")
            return Unsupported("if")
        if token.text == "match":
            self.take("?")
            self.skip("(", ")")
            self.skip("{", "}")
            return Unsupported("match")
        if re.fullmatch(r"u?int\d+|float\d+|bool", token.text) and self.take("("):  # int64(1)
            value = self.number()
            self.need(")")
            return Constant(value.astype(token.text))
        return token.text

    def meta(self) -> Any:
        """What ``meta[KIND][NUMBER]`` refers to, behind ``meta``."""
        line = self.next.line
        self.need("[")
        kind = self.expect("name").text
        self.need("]")
        self.need("[")
        number = self.expect("number").text
        self.need("]")
        found = self.metadata.get(kind)
        if found is None or not number.isdigit() or int(number) >= len(found):
            raise ValueError(
                f"line {line}: the text has meta[{kind}][{number}], but not its value; save the module with "
                "tvm.ir.save_json(mod), or mod.astext(show_meta_data=True)"
            )
        return found[int(number)]

    # Numbers, attributes, types

    def number(self) -> np.ndarray:
        sign = -1 if self.take("-") else 1
        text = self.expect("number").text
        found = re.fullmatch(r"(inf|nan|[\d.]+(?:[eE][+-]?\d+)?)([fiu]?)(\d*)", text)
        if found is None:
            raise ValueError(f"line {self.next.line}: {text!r} is no number")
        digits, kind, bits = found.groups()
        if not kind:
            whole = digits.isdigit()
            return np.array(sign * (int(digits) if whole else float(digits)), "int32" if whole else "float32")
        value = sign * (float(digits) if kind == "f" else int(digits))
        return np.array(value, f"{_SUFFIXES[kind]}{bits or 32}")

    def attribute(self) -> Any:
        if self.take("["):
            return self.listed("]", self.attribute)
        if self.take("("):
            return self.listed(")", self.attribute)
        if self.next.text == "{":
            self.skip("{", "}")
            return None
        if self.next.kind == "string":
            return self.expect("string").text
        if self.next.kind == "number" or self.next.text == "-":
            return self.number().item()
        token = self.expect("name")
        if token.text == "meta":
            self.skip("[", "]")
            self.skip("[", "]")
            return None
        return {**_LITERALS, "None": None}.get(token.text, token.text)

    def type(self) -> TensorType | None:
        """A tensor's type; None of others, which are passed."""
        if self.take("("):
            self.listed(")", self.type)
            return None
        if self.take("fn"):
            if self.next.text == "[":
                self.skip("[", "]")
            self.skip("(", ")")
            self.need("->")
            self.type()
            return None
        name = self.expect("name").text
        if name != "Tensor":
            if self.next.text == "[":
                self.skip("[", "]")
            return TensorType((), name) if re.fullmatch(r"u?int\d+|float\d+|bool", name) else None
        self.need("[")
        self.need("(")
        extents = self.listed(")", self.extent)
        self.need(",")
        dtype = self.expect("name").text
        self.need("]")
        return TensorType(tuple(extents), dtype)

    def extent(self) -> int | None:
        if self.take("?"):
            return None
        if self.next.kind == "number":
            return int(self.number())
        while self.next.text not in (",", ")"):  # an expression of TVM
            if self.next.text in ("(", "["):
                self.skip(self.next.text, {"(": ")", "[": "]"}[self.next.text])
            elif self.next.kind == "end":
                raise self.unexpected("an extent")
            else:
                self.at += 1
        return None


def _whole(value: Expr | str) -> Expr:
    """An operator that is not called is a value that no network has."""
    return Unsupported(f"{value} as a value") if isinstance(value, str) else value
