"""Pieces of real networks with one or two things wrong with them: a strategy of hypothesis."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from onnx import TensorProto, helper, numpy_helper

_MOST_NODES = 12


@dataclass(frozen=True)
class Mutant:
    """A model, and what was done to it."""

    model: bytes
    story: str

    def __repr__(self) -> str:
        return f"<{self.story}>"


@st.composite
def mutants(draw, sources: list[Path]) -> Mutant:
    """A few neighbouring nodes of one of the networks, changed."""
    source = draw(st.sampled_from(sources))
    whole = _static(source)
    start = draw(st.integers(0, len(whole.graph.node) - 1))
    model = _piece(whole, start, draw(st.integers(1, _MOST_NODES)))
    stories = [f"{source.stem} from node {start}"]
    try:
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            change = draw(st.sampled_from(CHANGES))
            stories.append(f"{change.__name__}: {change(draw, model)}")
        return Mutant(model.SerializeToString(), "; ".join(stories))
    except (ValueError, InvalidArgument):  # a second change can't read what the first one left, or nothing is left
        assume(False)


def drop_node(draw, model):
    """Its readers read its first input, or nothing."""
    node = _node(draw, model)
    model.graph.node.remove(node)
    if draw(st.booleans()) and node.input:
        for other in model.graph.node:
            other.input[:] = [node.input[0] if name in node.output else name for name in other.input]
        for value in model.graph.output:
            if value.name in node.output and model.graph.node:
                value.name = model.graph.node[-1].output[0]
    return node.op_type


def change_attribute(draw, model):
    node = _node(draw, model)
    assume(node.attribute)
    attribute = draw(st.sampled_from(list(node.attribute)))
    old = helper.get_attribute_value(attribute)
    number, real = (
        st.sampled_from([-(2**31), -1, 0, 1, 2, 3, 5, 64]),
        st.sampled_from([0.0, -1.0, 1e30, np.nan, np.inf]),
    )
    match old:
        case int():
            new = draw(number)
        case float():
            new = draw(real)
        case bytes():
            new = draw(st.sampled_from(["", "NOTSET", "SAME_UPPER", "VALID", "linear", "nearest", "reflect"]))
        case [int(), *_]:
            new = list(old)
            new[draw(st.integers(0, len(new) - 1))] = draw(number)
            new = draw(st.sampled_from([new, new[:-1] or [1], [*new, 1]]))
        case _:
            node.attribute.remove(attribute)
            return f"{node.op_type} without {attribute.name}"
    name = attribute.name
    node.attribute.remove(attribute)
    if draw(st.integers(0, 4)):
        node.attribute.append(helper.make_attribute(name, new))
    return f"{node.op_type}.{name} = {new!r}"


def rename(draw, model):
    """A tensor, where one node reads it, or everywhere."""
    name = draw(st.sampled_from(_names(model)))
    new = draw(st.sampled_from(["", " ", "x", "größe", "a/b:0", "a.b", "%1", "if", "n" * 300, "a\nb", '"']))
    nodes = list(model.graph.node)
    if draw(st.booleans()):
        nodes = [draw(st.sampled_from(nodes))]
    else:
        for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
            value.name = new if value.name == name else value.name
    for node in nodes:
        node.input[:] = [new if each == name else each for each in node.input]
        node.output[:] = [new if each == name else each for each in node.output]
    return f"{name!r} to {new!r} in {len(nodes)} nodes"


def rename_node(draw, model):
    node = _node(draw, model)
    node.name = draw(st.sampled_from(["", "same", "größe", "a\nb", "main", "x" * 300]))
    for other in model.graph.node[:2]:
        other.name = node.name
    return repr(node.name)


def reorder(draw, model):
    nodes = draw(st.permutations(list(model.graph.node)))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return "nodes"


def repeat_node(draw, model):
    node = _node(draw, model)
    model.graph.node.append(node)
    return node.op_type


def change_opset(draw, model):
    model.opset_import[0].version = draw(st.integers(0, 30))
    return model.opset_import[0].version


def change_operator(draw, model):
    node = _node(draw, model)
    kinds = ["Relu", "Add", "Conv", "MatMul", "MaxPool", "Concat", "Gather", "Reshape", "Softmax", "Transpose"]
    kinds += ["Resize", "Clip", "Pad", "Slice", "Split", "TopK", "If", "Loop", "Foo", "LSTM", "QuantizeLinear", "Mod"]
    old, node.op_type = node.op_type, draw(st.sampled_from(kinds))
    return f"{old} to {node.op_type}"


def change_shape(draw, model):
    """Of a constant that keeps its size or does not, or what the file says of an input."""
    if draw(st.booleans()) and model.graph.initializer:
        tensor = draw(st.sampled_from(list(model.graph.initializer)))
        array, shape = numpy_helper.to_array(tensor), list(tensor.dims)
        kind = draw(st.sampled_from(["flat", "reversed", "more", "cut", "empty", "wrong"]))
        if kind == "wrong":
            tensor.dims[:] = [*shape, 2]
        else:
            new = {"flat": array.ravel(), "reversed": array.T, "more": array[None]}.get(kind)
            new = (
                (array.ravel()[: len(array.ravel()) // 2] if kind == "cut" else array.ravel()[:0])
                if new is None
                else new
            )
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(new), tensor.name))
        return f"{tensor.name} {kind}"
    value = draw(st.sampled_from(list(model.graph.input)))
    axes = value.type.tensor_type.shape.dim
    assume(axes)
    axis = draw(st.integers(0, len(axes) - 1))
    axes[axis].dim_value = draw(st.sampled_from([-1, 0, 1, 2, 3, 5, 7]))
    return f"{value.name} axis {axis} of {axes[axis].dim_value}"


def swap_inputs(draw, model):
    """Of a node, or with another tensor."""
    node = _node(draw, model)
    assume(node.input)
    place = draw(st.integers(0, len(node.input) - 1))
    other = draw(st.integers(0, len(node.input) - 1))
    if other != place:
        node.input[place], node.input[other] = node.input[other], node.input[place]
        return f"of {node.op_type}"
    node.input[place] = draw(st.sampled_from([*_names(model), ""]))
    return f"{place} of {node.op_type} to {node.input[place]!r}"


def cut_inputs(draw, model):
    node = _node(draw, model)
    node.input[:] = [*node.input, "", node.input[0]] if draw(st.booleans()) and node.input else list(node.input)[:-1]
    return f"{node.op_type} has {len(node.input)}"


def change_dtype(draw, model):
    """Of a constant, with its values, or of an input."""
    kind = draw(st.sampled_from(["float16", "float64", "int64", "int32", "int8", "uint8", "bool"]))
    if draw(st.booleans()) and model.graph.initializer:
        tensor = draw(st.sampled_from(list(model.graph.initializer)))
        with np.errstate(all="ignore"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
        return f"{tensor.name} to {kind}"
    value = draw(st.sampled_from(list(model.graph.input)))
    value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return f"{value.name} to {kind}"


def change_values(draw, model):
    assume(model.graph.initializer)
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    array = numpy_helper.to_array(tensor).copy()
    value = draw(st.sampled_from([0, -1, 1, 3, 10**9, np.nan, np.inf, 1e-40]))
    if array.dtype.kind != "f":
        value = int(np.nan_to_num(value, posinf=10**6))
    array[...] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return f"{tensor.name} = {value}"


def cut_values(draw, model):
    assume(model.graph.initializer)
    tensor = draw(st.sampled_from(list(model.graph.initializer)))
    tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    return tensor.name


CHANGES = [drop_node, change_attribute, change_attribute, change_attribute, rename, rename_node, reorder, repeat_node]
CHANGES += [change_opset, change_opset, change_operator, change_operator, change_shape, change_shape, swap_inputs]
CHANGES += [swap_inputs, cut_inputs, change_dtype, change_values, change_values, cut_values]


def _node(draw, model):
    assume(model.graph.node)
    return draw(st.sampled_from(list(model.graph.node)))


def _names(model) -> list[str]:
    graph = model.graph
    names = [value.name for value in [*graph.input, *graph.initializer]]
    return names + [name for node in graph.node for name in node.output]


@functools.cache
def _static(path: Path) -> onnx.ModelProto:
    """With the shape of each tensor, of batch 1."""
    model = onnx.load(path)
    for value in model.graph.input:
        for axis in value.type.tensor_type.shape.dim[:1]:
            axis.dim_value = 1
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _piece(whole: onnx.ModelProto, start: int, count: int) -> onnx.ModelProto:
    """A model of some nodes in a row: what they read from others are its inputs, what only others read its outputs."""
    nodes = list(whole.graph.node)[start : start + count]
    made = {name for node in nodes for name in node.output}
    read = dict.fromkeys(name for node in nodes for name in node.input if name and name not in made)
    weights = [tensor for tensor in whole.graph.initializer if tensor.name in read]
    given = {tensor.name for tensor in weights}
    types = {v.name: v for v in [*whole.graph.input, *whole.graph.value_info, *whole.graph.output]}
    assume(all(name in types for name in read if name not in given))
    inside = {name for node in nodes for name in node.input}
    ends = [name for node in nodes for name in node.output if name and name not in inside]
    graph = helper.make_graph(
        nodes,
        "piece",
        [types[name] for name in read if name not in given],
        [types.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends],
        weights,
    )
    model = onnx.ModelProto()
    model.CopyFrom(helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version))
    return model
