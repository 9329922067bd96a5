"""ONNX file -> Relax module whose variables are named as the file names its nodes."""

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter, _get_convert_map

from eq_tvm.errors import UserError, first_line
from eq_tvm.importer.converters import CONVERTERS, OnnxCall
from eq_tvm.importer.names import described, node_name, opset, unique
from eq_tvm.importer.onnx_model import Constants, Shapes, load_onnx, make_static
from eq_tvm.importer.own_scales import weight_scales
from eq_tvm.importer.protobuf import extents
from eq_tvm.importer.static import is_static, rows_of


def import_onnx(path: str | Path, shapes: Shapes | None = None, constants: Constants | None = None) -> tvm.IRModule:
    """Import a network.

    Parameters
    ----------
    path : path of the ONNX file
    shapes : mapping of input name to shape, optional
        As ``--input`` gives them; a symbolic batch becomes 1 without.
    constants : mapping of input name to value, optional
        As ``--constant`` gives them.

    Returns
    -------
    tvm.IRModule
        ``main`` with weights as constants and static shapes. Its parameters are named as the model's inputs; its
        attributes ``input_names`` and ``output_names`` list those names in the file's order (several outputs are a
        tuple); ``output_rows`` has, by name, the axis of those that have as many rows as the data choose, and the
        output that counts them: such follow at the end; ``weight_scales``, of a quantized network, has the scales of
        weights by layer. The variable bound to a convolution or matrix product is named
        as its ONNX node (as the node's first output, where that has no name); for other nodes it is the last variable.

    Raises
    ------
    UserError
        As ``read_onnx``, and for an operator that can't be imported (names the node) and shapes that depend on data.
    """
    try:
        return _import(path, shapes, constants)
    except UnicodeDecodeError:  # Protobuf looks at a text when it is read
        raise UserError(f"{path}: not a valid ONNX model: a name in it is no UTF-8") from None


def _import(path: str | Path, shapes: Shapes | None, constants: Constants | None) -> tvm.IRModule:
    loaded = load_onnx(path)
    scales = {layer: relax.const(values) for layer, values in weight_scales(loaded).items()}
    model = make_static(path, loaded, shapes, constants)
    _check_operators(path, model)
    mod, results = _from_onnx(path, model)
    mod = _rename(mod, results)
    _check_static(path, mod)
    rows = rows_of(model)
    names = {
        "input_names": [param.name for param in mod["main"].params],
        "output_names": [value.name for value in model.graph.output],
        "output_rows": {
            value.name: [rows[value.name].axis, rows[value.name].count]
            for value in model.graph.output
            if value.name in rows
        },
        **({"weight_scales": scales} if scales else {}),
    }
    mod["main"] = mod["main"].without_attr("num_input").with_attrs(names)
    return relax.transform.CanonicalizeBindings()(mod)


def _check_operators(path: str | Path, model: onnx.ModelProto) -> None:
    known = _get_convert_map().keys() | CONVERTERS.keys() | {"Constant"}
    missing = {node.op_type: node for node in reversed(model.graph.node) if node.op_type not in known}
    if missing:
        what = ", ".join(f"{kind} (node {node_name(node)!r})" for kind, node in sorted(missing.items()))
        raise UserError(f"{path}: can't import the operator{'s' if len(missing) > 1 else ''} {what}")


def _from_onnx(path: str | Path, model: onnx.ModelProto) -> tuple[tvm.IRModule, dict[relax.Var, str]]:
    """The imported module, and the variable that each node's result is bound to, with the node's name."""
    importer = _NamingImporter(_types(model))
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return importer.from_onnx(model.graph, opset(model)), importer.results
    except Exception as error:  # the converters raise whatever they like
        with contextlib.suppress(RuntimeError):
            importer.bb._end_block()  # else TVM complains on stderr about the block left open
        node = importer.node
        what = f"can't import {described(node)}" if node else "can't import the model"
        raise UserError(f"{path}: {what}: {first_line(error)}") from error


class _NamingImporter(ONNXGraphImporter):
    """Imports node by node, to know which node a failure and which variables belong to."""

    def __init__(self, types: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        shapes = {name: list(shape) for name, (_, shape) in types.items()}  # it takes an extent of 0 for unknown
        super().__init__(shapes, "float32", keep_params_in_input=False, sanitize=False)
        self.types = types
        self.node: onnx.NodeProto | None = None
        self.results: dict[relax.Var, str] = {}

    def _construct_nodes(self, graph: onnx.GraphProto) -> None:
        for self.node in graph.node:
            super()._construct_nodes(SimpleNamespace(node=[self.node]))
            for output in self.node.output:
                self._bind(output)
                self._check_type(output)

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """`_check_operators` did, with our own converters in view."""

    def _convert_operator(self, op_name: str, inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> Any:
        call = OnnxCall(self.node, tuple(inputs), self.bb, opset)
        converted = CONVERTERS[op_name](call) if op_name in CONVERTERS else None
        if converted is None:
            return super()._convert_operator(op_name, inputs, attrs, opset)
        return self.bb.normalize(converted)

    def _bind(self, output: str) -> None:
        value = self._nodes.get(output)
        if isinstance(value, relax.Call | relax.TupleGetItem) and isinstance(value.ty, relax.TensorType):
            value = self._nodes[output] = self.bb.emit(value)
        if isinstance(value, relax.Var):
            self.results.setdefault(value, node_name(self.node))

    def _check_type(self, output: str) -> None:
        """A converter's mistake shows where onnx infers another type than Relax."""
        value = self._nodes.get(output)
        if output not in self.types or value is None or not isinstance(value.ty, relax.TensorType):
            return
        extents = value.ty.shape if isinstance(value.ty.shape, relax.ShapeExpr) else ("?",)
        found = value.ty.dtype, tuple(int(n) if isinstance(n, tvm.tirx.IntImm) else str(n) for n in extents)
        expected = self.types[output]
        if found != expected:
            told = [f"{dtype} ({', '.join(map(str, shape))})" for dtype, shape in (found, expected)]
            raise ValueError(f"TVM makes {told[0]} of {output!r}, where ONNX says {told[1]}")


def _types(model: onnx.ModelProto) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Element type and shape that onnx infers, of each input and each tensor that is computed."""
    found = {}
    for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
        tensor = value.type.tensor_type
        if tensor.elem_type and is_static(value.type):
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            found[value.name] = str(dtype), tuple(extents(value.type))
    return found


def _rename(mod: tvm.IRModule, results: Mapping[relax.Var, str]) -> tvm.IRModule:
    """Name the bindings between two results after the node of the second one."""
    block = mod["main"].body.blocks[0]
    names: dict[relax.Var, str] = {}
    used, pending = {param.name for param in mod["main"].params}, []
    for binding in block.bindings:
        pending.append(binding)
        if binding.var in results:
            names |= _names(pending, results[binding.var], used)
            pending = []
    output = mod["main"].body.body  # bound to the last node's result once more, or to the tuple of outputs
    names |= {binding.var: names.get(binding.value, "outputs") for binding in pending if binding.var.same_as(output)}
    renamed = tvm.IRModule(mod.functions)
    renamed["main"] = _Renamer(mod, names).visit_expr(mod["main"])
    return renamed


def _names(bindings: Sequence[relax.Binding], node: str, used: set[str]) -> dict[relax.Var, str]:
    operators = [binding.value.op.name if isinstance(binding.value, relax.Call) else "" for binding in bindings]
    layers = [i for i, operator in enumerate(operators) if operator.split(".")[-1].startswith(("conv", "matmul"))]
    main = layers[0] if layers else len(bindings) - 1
    names = {}
    for i, (binding, operator) in enumerate(zip(bindings, operators, strict=True)):
        names[binding.var] = unique(node if i == main else f"{node}.{operator.split('.')[-1] or 'item'}", used)
    return names


@mutator
class _Renamer(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, names: Mapping[relax.Var, str]):
        super().__init__(mod)
        self.names = names

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value, var = self.visit_expr(binding.value), binding.var
        renamed = type(var)(self.names.get(var, var.name), var.ty)
        self.set_var_remap(var, renamed)
        self.builder_.emit_normalized(relax.VarBinding(renamed, value))


def _check_static(path: str | Path, mod: tvm.IRModule) -> None:
    for binding in mod["main"].body.blocks[0].bindings:
        types = binding.var.ty.fields if isinstance(binding.var.ty, relax.TupleType) else [binding.var.ty]
        for ty in types:
            if not isinstance(ty, relax.TensorType):
                continue
            extents = list(ty.shape) if isinstance(ty.shape, relax.ShapeExpr) else [None]
            if not all(isinstance(extent, tvm.tirx.IntImm) and int(extent) > 0 for extent in extents):
                what = f"the output shape of {binding.var.name!r} is empty or depends on the data"
                raise UserError(f"{path}: {what}; only static shapes can be compiled: cut the model before it")
