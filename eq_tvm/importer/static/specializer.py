"""What is known of a model while its nodes are visited, and what becomes of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TypeProto, helper, numpy_helper, shape_inference

from eq_tvm.errors import UserError, reason
from eq_tvm.importer.names import described, graph_inputs, one_line, opset
from eq_tvm.importer.protobuf import extents
from eq_tvm.importer.static.axes import from_the_front, in_a_list
from eq_tvm.importer.static.counted import Number, note_rows, rows_of, settled_of
from eq_tvm.importer.static.expand import body_of
from eq_tvm.importer.static.standard import evaluate, is_static, schema_of

# Of an operator that is not left to be computed: what a node is replaced by; True where nothing is left to do with it.
# The last argument is the scope, for operators with subgraphs.
Handler = Callable[["Specializer", NodeProto, dict[str, str]], bool]

OURS = "eq_tvm"  # domain of nodes that the standard does not have in this form


class Specializer:
    """What is known while the nodes of a model are visited in order.

    Attributes
    ----------
    types : dict of str to onnx.TypeProto
        Of each tensor.
    constants : dict of str to onnx.TensorProto
    sequences : dict of str to list of str
        The tensors in each sequence, and the tensor in each optional that has one.
    aliases : dict of str to str
        Tensors that are another one.
    nodes : list of onnx.NodeProto
        What is left to be computed.
    rows : dict of str to Rows
        Of tensors with as many rows as the data choose.
    numbers : dict of str to numpy.ndarray
        Integers that are known but for numbers that the data choose, as in shapes of such tensors: placeholders stand
        for those.
    counts : dict of int to Number
        What the placeholders stand for.
    places : set of str
        Tensors of indices that are never negative: what counts from behind would depend on the number of rows.
    settled : set of str
        Tensors of all rows that there can be, which mean something.
    """

    def __init__(
        self,
        path: str | Path,
        model: onnx.ModelProto,
        handlers: Mapping[str, Handler],
        follow: Callable[[Specializer, NodeProto], NodeProto | None],
    ) -> None:
        self.path = path
        self._handlers, self._follow = handlers, follow
        self.opset = opset(model)
        self.domains = {entry.domain: entry.version for entry in model.opset_import}
        self.types: dict[str, TypeProto] = {value.name: value.type for value in graph_inputs(model)}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.sequences: dict[str, list[str]] = {}
        self.aliases: dict[str, str] = {}
        self.nodes: list[NodeProto] = []
        self.rows = rows_of(model)  # of one that was specialized before it was converted
        self.numbers: dict[str, np.ndarray] = {}
        self.counts: dict[int, Number] = {}
        self.places: set[str] = set()
        self.settled = settled_of(model)
        self._made: dict[tuple[Any, ...], str] = {}
        self._names = 0
        self._taken = {name for node in model.graph.node for name in node.output} | self.types.keys()
        self._taken |= {tensor.name for tensor in model.graph.initializer}
        for tensor in model.graph.initializer:
            self.set_constant(tensor.name, tensor)
        for name, ty in list(self.types.items()):
            if _is_empty(ty):
                self._set_empty(name, ty)

    def run(self, nodes: Iterable[NodeProto], scope: dict[str, str], prefix: str = "") -> None:
        """Visit nodes.

        Parameters
        ----------
        scope : dict of str to str
            What the names in these nodes are called here; those of the nodes' results are added.
        prefix : str
            Of the names that results get: subgraphs and functions may be visited several times.
        """
        for node in nodes:
            self.visit(self._renamed(node, scope, prefix), scope)

    def visit(self, node: NodeProto, scope: dict[str, str] | None = None) -> None:
        """Evaluate, replace or keep a node whose operands have their names here; `scope` is for those in subgraphs."""
        try:
            self._visit(node, scope)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:  # no operands for it
            raise self.refusal(node, f"can't be imported with these inputs and attributes: {reason(e)}") from e

    def _visit(self, node: NodeProto, scope: dict[str, str] | None) -> None:
        node = in_a_list(from_the_front(node, self.opset, self._rank(node)), self.value, self.constant)
        followed = self._follow(self, node)
        if followed is None:
            return
        node = followed
        own = node.domain in ("", "ai.onnx", OURS)
        handler = self._handlers.get(node.op_type if own else f"{node.domain}.{node.op_type}")
        if handler is not None and handler(self, node, scope or {}):
            return
        if any(name in self.sequences for name in node.input):
            raise self.refusal(node, "reads a sequence, which only sequence operators can")
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in _OTHER_DOMAINS:
            raise self.refusal(node, f"is an operator of {node.domain}; only ai.onnx's can be compiled")
        if _is_random(node):
            raise self.refusal(node, "is random; export the model for inference")
        known = all(name in self.constants and name not in self.rows for name in node.input if name)
        if known and self._fold(node):
            return
        body = body_of(node, self.opset, [self.types.get(name) for name in node.input])
        if body is not None:
            self.run_function(node, body)
            return
        self.keep(node)

    def keep(self, node: NodeProto) -> None:
        """Leave a node to be computed, unless all results are empty; UserError where their shapes aren't static."""
        types = self.infer(node)
        for name, ty in types.items():
            if not is_static(ty):
                raise self.refusal(node, self._why_dynamic(node))
            if (kind := ty.tensor_type.elem_type) in _PACKED:
                raise self.refusal(
                    node, f"gives {onnx.TensorProto.DataType.Name(kind).lower()}, which can't be compiled"
                )
            self.check_shape(node, name, extents(ty))
            self.types[name] = ty
            if _is_empty(ty):
                self._set_empty(name, ty)
        if not types or not all(map(_is_empty, types.values())):
            self.nodes.append(node)
        elif node.op_type in _WITH_WINDOWS and 0 not in self.shape(node.input[0]):
            raise self.refusal(node, "has a kernel that is larger than what it reads; give a larger image with --input")

    def check_shape(self, node: NodeProto, name: str, shape: list[int]) -> None:
        """UserError where a node's result can't be, or can't be held."""
        if min(shape, default=0) < 0:
            raise self.refusal(node, f"gives {name!r} the shape ({', '.join(map(str, shape))})")
        if (count := math.prod(shape)) > _MOST:
            raise self.refusal(node, f"gives {name!r} {count:,} values; at most {_MOST:,} can be compiled")

    def infer(self, node: NodeProto) -> dict[str, TypeProto]:
        """Types of a node's results, empty for operators beyond the standard."""
        self._check_windows(node)
        schema = schema_of(node, self.domains)
        types = {name: self.types[name] for name in node.input if name in self.types}
        if schema is None or len(types) < len({name for name in node.input if name}):
            return {}
        small = {name: self.constants[name] for name in node.input if _is_small(self.constants.get(name))}
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        try:
            inferred = shape_inference.infer_node_outputs(schema, node, types, small, opset_imports=opsets)
        except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, TypeError) as error:
            raise UserError(f"{self.path}: shapes or types do not fit: {described(node)}: {one_line(error)}") from None
        return {name: ty for name, ty in inferred.items() if name}

    def run_function(self, node: NodeProto, body: onnx.FunctionProto) -> None:
        """Visit what a node stands for."""
        given = dict(zip(body.input, node.input, strict=False))
        scope = {name: given.get(name, "") for name in body.input}
        self.run(body.node, scope, self.prefix(node))
        for name, result in zip(node.output, body.output, strict=False):
            if name:  # else the body may lack what it would be computed from
                self.alias(name, self.resolve(scope[result]))

    def call(self, op_type: str, *operands: str, output: str = "", **attributes: Any) -> str:
        """Visit one more node; the name of its result."""
        output = output or self.new_name(op_type)
        self.visit(helper.make_node(op_type, operands, [output], name=output, **attributes))
        return self.resolve(output)

    def once(self, key: tuple[Any, ...], make: Callable[[], str]) -> str:
        """The tensor that `make` gives, which it is asked for once for each key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def constant(self, value: Any, output: str = "") -> str:
        """A new constant; its name."""
        output = output or self.new_name("constant")
        self.set_constant(output, numpy_helper.from_array(np.asarray(value), output))
        return output

    def reshape(self, name: str, shape: Iterable[int]) -> str:
        """A tensor in another static shape."""
        return self.call("Reshape", name, self.constant(np.array(list(shape), np.int64)))

    def set_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        """Note the value of a tensor."""
        self.constants[name] = tensor
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))

    def value(self, name: str) -> np.ndarray | None:
        """Of a constant; None where a tensor is computed from the data, or left out."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def shape(self, name: str) -> list[int]:
        """Static shape of a tensor; UserError where onnx does not know it."""
        ty = self.types.get(name)
        if ty is None or not is_static(ty):
            raise UserError(f"{self.path}: the shape of {name!r} is not known; only static shapes can be compiled")
        return extents(ty)

    def alias(self, name: str, other: str) -> None:
        """Note that a tensor or a sequence is another one."""
        if name:
            self.aliases[name] = other
            if other in self.sequences:
                self.sequences[name] = self.sequences[other]

    def resolve(self, name: str) -> str:
        """The tensor that a name stands for."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def prefix(self, node: NodeProto) -> str:
        """Of new names for what is visited in place of a node."""
        return f"{self.new_name(node.name or next(filter(None, node.output), node.op_type))}/"

    def new_name(self, stem: str) -> str:
        """A name that no tensor has."""
        self._names += 1
        while f"{stem}:{self._names}" in self._taken:
            self._names += 1
        return f"{stem}:{self._names}"

    def refusal(self, node: NodeProto, what: str) -> UserError:
        """To raise: what can't be done with a node."""
        return UserError(f"{self.path}: {described(node)} {what}")

    def sources(self, *names: str) -> list[str]:
        """The model's inputs that tensors are computed from."""
        found, made = [], {out: node for node in self.nodes for out in node.output}
        pending = list(names)
        seen: set[str] = set()
        while pending:
            current = pending.pop()
            if current in seen or current in self.constants or not current:
                continue
            seen.add(current)
            if current in made:
                pending += made[current].input
            else:
                found.append(current)
        return found

    def result(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The model of what is left to be computed."""
        outputs = [value.name for value in model.graph.output]
        for name in outputs:
            if name in self.sequences:
                raise UserError(f"{self.path}: output {name!r} is a sequence; only tensors can be compiled")
            if (source := self.resolve(name)) != name:
                self.keep(helper.make_node("Identity", [source], [name], name=name))
                self.rows |= {name: self.rows[source]} if source in self.rows else {}
        counts = self._counts(outputs)
        outputs += [count for count in counts if count not in outputs]
        read: set[str] = set(outputs)
        nodes: list[NodeProto] = []
        for node in reversed(self.nodes):
            if read & {*node.output}:
                read |= {*node.input}
                nodes.append(node)
        nodes.reverse()
        graph = helper.make_graph(
            nodes,
            model.graph.name or "main",
            graph_inputs(model),
            [helper.make_value_info(name, self.types.get(name, TypeProto())) for name in outputs],
            [_named(tensor, name) for name, tensor in self.constants.items() if name in read],
            value_info=[
                helper.make_value_info(name, self.types[name])
                for node in nodes
                for name in node.output
                if name in self.types and name not in outputs
            ],
        )
        opsets = {entry.domain: entry for entry in [*model.opset_import, helper.make_opsetid(OURS, 1)]}
        result = helper.make_model(graph, opset_imports=[*opsets.values()], ir_version=max(model.ir_version, 4))
        note_rows(result, self.rows, self.settled)
        return result

    def _counts(self, outputs: Iterable[str]) -> list[str]:
        """The tensors that count the outputs' rows, by names that end so."""
        counted = {name: self.rows[name] for name in outputs if name in self.rows}
        counts: dict[str, str] = {}
        for name, rows in counted.items():
            if rows.count not in counts:
                counts[rows.count] = rows.count if rows.count.endswith(_COUNT) else f"{name}{_COUNT}"
                if counts[rows.count] != rows.count:
                    self.keep(helper.make_node("Identity", [rows.count], [counts[rows.count]], name=f"{name}{_COUNT}"))
            self.rows[name] = replace(rows, count=counts[rows.count])
        return list(counts.values())

    def _set_empty(self, name: str, ty: TypeProto) -> None:
        dtype = helper.tensor_dtype_to_np_dtype(ty.tensor_type.elem_type)
        self.constant(np.zeros(extents(ty), dtype), name)

    def _why_dynamic(self, node: NodeProto) -> str:
        """What to do where a shape is not static: operands behind the first decide shapes, as a rule."""
        reason = "gives a shape that depends on the data; only static shapes can be compiled"
        inputs = self.sources(*node.input[0 if node.op_type in _DECIDED_BY_ALL else 1 :])
        inputs = [name for name in inputs if len(self.shape(name)) < 2]  # images decide no shapes
        given = " ".join(f"--constant {name}=VALUE" for name in inputs)
        return (
            f"{reason}: if it is always the same, fix it with {given}"
            if given
            else f"{reason}: cut the model before it"
        )

    def _check_windows(self, node: NodeProto) -> None:
        """Onnx's shape inference takes strides of 0 and negative groups; older ones divide by them, and crash."""
        for attribute in node.attribute if node.op_type in {*_WITH_WINDOWS, "ConvTranspose"} else ():
            numbers = [*attribute.ints] if attribute.ints else [attribute.i]
            if attribute.name in _COUNTS and not 0 < min(numbers) <= max(numbers) < 1 << 31:
                raise self.refusal(node, f"has {attribute.name} {numbers}, which are not from 1")

    def _rank(self, node: NodeProto) -> int | None:
        ty = self.types.get(node.input[0]) if node.input else None
        return None if ty is None or not ty.tensor_type.HasField("shape") else len(ty.tensor_type.shape.dim)

    def _renamed(self, node: NodeProto, scope: dict[str, str], prefix: str) -> NodeProto:
        renamed = NodeProto()
        renamed.CopyFrom(node)
        renamed.name = prefix + node.name if prefix and node.name else node.name
        renamed.input[:] = [self.resolve(scope.get(name, name)) for name in node.input]
        scope.update((name, prefix + name) for name in node.output if name)
        outputs = [name and prefix + name for name in node.output]
        while len(outputs) > 1 and not outputs[-1]:
            outputs.pop()
        renamed.output[:] = outputs
        return renamed

    def _fold(self, node: NodeProto) -> bool:
        types = self.infer(node)
        sizes = [math.prod(extents(ty)) for ty in types.values()]
        if not types or max(sizes) > _LARGEST:
            return False
        values = evaluate(node, {name: self.value(name) for name in node.input if name}, self.domains)
        if values is None:
            return False
        for name, value in values.items():
            tensor = numpy_helper.from_array(np.asarray(value), name)
            if tensor.data_type != types[name].tensor_type.elem_type:
                return False
            self.set_constant(name, tensor)
        return True


# Types of several numbers to a byte, and those that are no numbers, which constants only may have
_PACKED = {
    value
    for name, value in onnx.TensorProto.DataType.items()
    if name.endswith(("INT4", "INT2", "E2M1", "E8M0")) or name in ("STRING", "COMPLEX64", "COMPLEX128")
}
# That the importer has
_OTHER_DOMAINS = {
    ("com.microsoft", name)
    for name in ("BiasGelu", "EmbedLayerNormalization", "FastGelu", "Gelu", "SkipLayerNormalization")
}
# Operators without data: all operands decide the shape
_DECIDED_BY_ALL = {"BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "MelWeightMatrix", "Range"}
_WITH_WINDOWS = {"AveragePool", "Conv", "LpPool", "MaxPool"}
_COUNTS = {"kernel_shape", "strides", "dilations", "group"}
_COUNT = ":count"
_LARGEST = 1 << 24  # elements of a constant that is computed while importing
_MOST = 1 << 29  # elements of a tensor: 2 GB in float32, as of all weights
_SMALL = 1 << 12  # elements of a constant whose value may decide a shape


def _is_empty(ty: TypeProto) -> bool:
    return is_static(ty) and 0 in extents(ty)


def _is_small(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and math.prod(tensor.dims) <= _SMALL


def _is_random(node: NodeProto) -> bool:
    return node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial")


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    if tensor.name == name:
        return tensor
    named = onnx.TensorProto()
    named.CopyFrom(tensor)
    named.name = name
    return named
