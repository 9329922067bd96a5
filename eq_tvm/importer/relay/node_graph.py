"""The JSON that ``tvm.ir.save_json`` writes: a list of nodes that refer to each other by their places in it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from eq_tvm.importer.relay.params import read_array


def read_module(text: str) -> Module:
    """The module, or the function as one's ``main``.

    Raises
    ------
    ValueError
        What is no such JSON, or has something else in it; in words for a person.
    """
    with _damage():
        return _module(text)


def _module(text: str) -> Module:
    graph = NodeGraph(text)
    root, kind = graph.root, graph.kind(graph.root)
    if kind == "relay.Function":
        functions = {"main": graph.expression(root)}
    elif kind in ("IRModule", "relay.Module"):
        named = graph.pairs(int(graph.attrs(root)["functions"]))
        functions = {graph.name(key): graph.expression(value) for key, value in named}
    else:
        raise ValueError(f"it has a {kind or 'None'} of TVM, not a Relay module or function")
    for name, value in functions.items():
        if isinstance(value, Unsupported):
            raise ValueError(
                f"function {name!r} is {value.what}, not one of Relay; save the module before it is lowered"
            )
    return Module({name: value for name, value in functions.items() if isinstance(value, Function)}, graph.version)


def read_metadata(text: str) -> dict[str, list[np.ndarray | dict[str, Any]]]:
    """What ``meta[KIND][NUMBER]`` in a module's text refers to, by kind: constants, and attributes of calls.

    Raises
    ------
    ValueError
        As `read_module`.
    """
    with _damage():
        return _metadata(text)


@contextmanager
def _damage() -> Iterator[None]:
    """A node may lack what it should have, in as many ways as there are nodes."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise ValueError(f"a node of its JSON is not as tvm.ir.save_json writes it ({error!r})") from None


def _metadata(text: str) -> dict[str, list[np.ndarray | dict[str, Any]]]:
    graph = NodeGraph(text)
    if graph.kind(graph.root) not in ("Map", "StrMap"):
        raise ValueError("its metadata is not a map")
    return {
        str(kind): [
            graph.constant(node).value if kind == "relay.Constant" else graph.operator_attributes(node)
            for node in graph.items(nodes)
        ]
        for kind, nodes in graph.pairs(graph.root)
        if kind == "relay.Constant" or str(kind).startswith("relay.attrs.")
    }


class NodeGraph:
    """The nodes, checked as they are read."""

    def __init__(self, text: str) -> None:
        try:
            content = json.loads(text)
            self.root, self.nodes = int(content["root"]), list(content["nodes"])
            self.arrays = [str(array) for array in content.get("b64ndarrays", [])]
            self.version = str(content.get("attrs", {}).get("tvm_version", ""))
            self.kind(self.root)
        except json.JSONDecodeError as error:
            raise ValueError(f"not valid JSON, or truncated ({error})") from None
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            raise ValueError("JSON, but not what tvm.ir.save_json writes") from None
        self._expressions: dict[int, Expr] = {}

    def kind(self, node: int) -> str:
        """What TVM calls the type of a node; empty for None."""
        return str(self._node(node).get("type_key", ""))

    def attrs(self, node: int) -> Mapping[str, str]:
        """The fields of a node."""
        return self._node(node).get("attrs", {})

    def items(self, node: int) -> list[int]:
        """The elements of an array."""
        return [_number(item) for item in self._node(node).get("data", [])]

    def pairs(self, node: int) -> Iterator[tuple[Any, int]]:
        """The entries of a map: keys are strings, or other nodes."""
        data, keys = self.items(node), self._node(node).get("keys")
        return zip(keys, data, strict=True) if keys else zip(data[::2], data[1::2], strict=True)

    def name(self, node: int | str) -> str:
        """What a name, or a node that has one, says."""
        if isinstance(node, str):
            return node
        content = self._node(node)
        for field in ("name_hint", "vid", "name"):
            if field in content.get("attrs", {}):
                value = content["attrs"][field]
                return self.name(_number(value)) if self._refers(value) else str(value)
        return self.string(node)

    def string(self, node: int) -> str:
        """A string, the name of an operator or of a source."""
        content = self._node(node)
        return str(content.get("repr_str", content.get("global_key", content.get("attrs", {}).get("value", ""))))

    def constant(self, node: int) -> Constant:
        """An array."""
        place = _number(self.attrs(node)["data"])
        try:
            return Constant(read_array(base64.b64decode(self.arrays[place], validate=True)))
        except IndexError:
            raise ValueError(f"it has no array {place}, which a constant refers to") from None
        except binascii.Error:
            raise ValueError(f"array {place} is damaged") from None

    def expression(self, node: int) -> Expr:
        """An expression; networks are deep, so with a stack of its own."""
        stack, entered = [node], set()
        while stack:
            index = stack[-1]
            if index in self._expressions:
                stack.pop()
                continue
            missing = [child for child in self._children(index) if child not in self._expressions]
            if missing:
                if index in entered:
                    raise ValueError(f"its node {index} refers to itself")
                entered.add(index)
                stack.extend(reversed(missing))
                continue
            self._expressions[index] = self._made(index)
            stack.pop()
        return self._expressions[node]

    def value(self, node: int) -> Any:
        """What an attribute refers to: a number, a string, None, or a list of such."""
        kind = self.kind(node)
        if kind in ("IntImm", "runtime.BoxInt", "runtime.BoxBool"):
            return _number(self.attrs(node)["value"])
        if kind in ("FloatImm", "runtime.BoxFloat"):
            return float(self.attrs(node)["value"])
        if kind in ("runtime.String", "StringImm", "tir.StringImm"):
            return self.string(node)
        if kind == "Array":
            return [self.value(item) for item in self.items(node)]
        if kind == "relay.Constant":
            return self.constant(node).value.tolist()
        return None

    def type(self, node: int) -> TensorType | None:
        """A tensor's type, None of others."""
        if self.kind(node) not in ("relay.TensorType", "TensorType"):
            return None
        fields = self.attrs(node)
        extents = tuple(
            _number(self.attrs(axis)["value"]) if self.kind(axis) == "IntImm" else None
            for axis in self.items(_number(fields["shape"]))
        )
        return TensorType(extents, str(fields["dtype"]))

    def _node(self, node: int) -> dict[str, Any]:
        if not 0 <= node < len(self.nodes) or not isinstance(self.nodes[node], dict):
            raise ValueError(f"it refers to node {node}, but has {len(self.nodes)}")
        return self.nodes[node]

    def _refers(self, value: str) -> bool:
        return value.isdigit() and _number(value) < len(self.nodes)

    def _children(self, node: int) -> list[int]:
        kind, fields = self.kind(node), self.attrs(node)
        if kind == "relay.Call":
            called = _number(fields["op"])
            return [
                *([] if self.kind(called) in ("Op", "relay.Op") else [called]),
                *self.items(_number(fields["args"])),
            ]
        if kind == "relay.Tuple":
            return self.items(_number(fields["fields"]))
        if kind == "relay.Function":
            return [*self.items(_number(fields["params"])), _number(fields["body"])]
        return [_number(fields[field]) for field in _EXPRESSIONS.get(kind, ())]

    def _made(self, node: int) -> Expr:
        maker = _MAKERS.get(self.kind(node))
        return Unsupported(self.kind(node)) if maker is None else maker(self, node)

    def read(self, node: int) -> Expr:
        """An expression that is read already."""
        return self._expressions[node]

    def operator_attributes(self, node: int) -> dict[str, Any]:
        """The attributes of a call: some fields have numbers, others the places of nodes."""
        kind = self.kind(node)
        if kind == "DictAttrs":
            return {}
        return {name: self._attribute(kind, name, value) for name, value in self.attrs(node).items()}

    def _attribute(self, kind: str, name: str, value: str) -> Any:
        number = name in _NUMBERS or (name == "axis" and kind.rpartition(".")[2] not in _AXIS_NODES)
        if value.isdigit() and not number and not (name == "size" and kind.endswith("LRNAttrs")):
            return self.value(_number(value))
        for convert in (int, float):
            try:
                return convert(value)
            except ValueError:
                continue
        return value

    def span(self, node: int) -> str:
        """Where a frontend says that an expression comes from."""
        place = _number(self.attrs(node).get("span", 0))
        while self.kind(place) == "SequentialSpan":
            spans = self.items(_number(self.attrs(place)["spans"]))
            place = spans[0] if spans else 0
        return self.name(_number(self.attrs(place)["source_name"])) if self.kind(place) == "Span" else ""


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} stands in its JSON where a number should be") from None


def _call(graph: NodeGraph, node: int) -> Expr:
    fields = graph.attrs(node)
    called = _number(fields["op"])
    operator = graph.kind(called) in ("Op", "relay.Op")
    return Call(
        graph.string(called) if operator else graph.read(called),
        tuple(graph.read(argument) for argument in graph.items(_number(fields["args"]))),
        graph.operator_attributes(_number(fields["attrs"])) if operator else {},
        graph.span(node),
    )


def _var(graph: NodeGraph, node: int) -> Expr:
    return Var(graph.name(node), graph.type(_number(graph.attrs(node).get("type_annotation", 0))))


def _function(graph: NodeGraph, node: int) -> Expr:
    params = [graph.read(param) for param in graph.items(_number(graph.attrs(node)["params"]))]
    return Function(tuple(p for p in params if isinstance(p, Var)), graph.read(_number(graph.attrs(node)["body"])))


def _let(graph: NodeGraph, node: int) -> Expr:
    var, value, body = (graph.read(_number(graph.attrs(node)[field])) for field in _EXPRESSIONS["relay.Let"])
    return Let(var, value, body) if isinstance(var, Var) else Unsupported("a let without a variable")


_EXPRESSIONS = {"relay.TupleGetItem": ("tuple_value",), "relay.Let": ("var", "value", "body")}

_MAKERS: dict[str, Callable[[NodeGraph, int], Expr]] = {
    "relay.Call": _call,
    "relay.Constant": NodeGraph.constant,
    "relay.Function": _function,
    "relay.GlobalVar": lambda graph, node: GlobalVar(graph.name(node)),
    "GlobalVar": lambda graph, node: GlobalVar(graph.name(node)),
    "relay.Let": _let,
    "relay.Tuple": lambda graph, node: Tuple(tuple(map(graph.read, graph.items(_number(graph.attrs(node)["fields"]))))),
    "relay.TupleGetItem": lambda graph, node: TupleGetItem(
        graph.read(_number(graph.attrs(node)["tuple_value"])), _number(graph.attrs(node)["index"])
    ),
    "relay.Var": _var,
}

# Attributes that are numbers by themselves (C++'s int, double, bool); digits in all others are the place of a node
_NUMBERS = frozenset(
    (
        *("a_max", "a_min", "align_corners", "allowzero", "alpha", "beta", "bias", "bits", "block_size", "ceil_mode"),
        *("center", "coord_start", "count_include_pad", "cubic_alpha", "cubic_exclude", "deformable_groups", "depth"),
        *("eps", "epsilon", "exclude", "extrapolation_value", "force_suppress", "groups", "id_index", "input_scale"),
        *("input_zero_point", "invalid_to_bottom", "iou_threshold", "is_ascend", "is_multiply", "keepdims"),
        *("kernel_scale", "kernel_zero_point", "lhs_axis", "lhs_begin", "mask_value", "minus_inf", "multiplier"),
        *("num_classes", "num_groups", "num_newaxis", "output_scale", "output_zero_point", "pad_out_h", "pad_out_w"),
        *("pad_value", "rate", "return_indices", "reverse", "rhs_axis", "rhs_begin", "right", "sample_ratio", "scale"),
        *("scale_d", "scale_h", "scale_w", "score_index", "select_last_index", "shift", "sorted", "sparse_lhs"),
        *("spatial_scale", "threshold", "tile_size", "top_k", "transpose_a", "transpose_b", "unbiased", "upper"),
    )
)

# An axis is a number as well, but of these
_AXIS_NODES = frozenset(
    f"{name}Attrs"
    for name in (
        *("ArgReduce", "Gather", "Hardmax", "L2Normalize", "Reduce", "Repeat", "Reverse", "Scanop", "Scatter"),
        *("ScatterAdd", "ScatterElements", "Squeeze", "Stack", "Take", "Variance"),
    )
)
