"""An annotated module as ONNX: standard QuantizeLinear and DequantizeLinear (QDQ)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from eq_tvm.errors import UserError
from eq_tvm.exporting.onnx_operators import written
from eq_tvm.importer.names import unique

if TYPE_CHECKING:
    import tvm
    from tvm import relax

    from eq_tvm.artifacts.bundle import TensorInfo
    from eq_tvm.passes.graph.rewrite import Graph

PRODUCER = "eq_tvm"  # as the file says
_OPSET, _IR_VERSION = 20, 9  # in 21, ONNX Runtime 1.32 moves some pairs about that it then finds wrong
_WIDE_OPSET, _WIDE_IR_VERSION = 21, 10  # that quantizes to int16


def to_onnx(
    module: tvm.IRModule, name: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> onnx.ModelProto:
    """A model that computes what the module does, with nodes named as its variables.

    Ranges that fill no type (of INT7, say) have a Clip between QuantizeLinear and DequantizeLinear, those of 12 bits
    before both.

    Parameters
    ----------
    module : tvm.IRModule
        Annotated, or canonical.
    name : str
        Of the network.
    inputs, outputs : sequence of TensorInfo
        Of the compiled network.

    Raises
    ------
    UserError
        For an operator that can't be written; names the node.
    """
    from eq_tvm.exporting.integer_bounds import bound_integers
    from eq_tvm.exporting.written_out import written_out
    from eq_tvm.passes.graph.rewrite import Graph

    module = bound_integers(written_out(module))
    graph = _Graph(Graph(module), [info.name for info in (*inputs, *outputs)])
    function = module["main"]
    graph.names.update(zip(function.params, (info.name for info in inputs), strict=True))
    for var, value in graph.bound.values.items():
        graph.bind(var, value)
    for result, info in zip(graph.fields(function.body.body), outputs, strict=True):
        graph.nodes.append(helper.make_node("Identity", [result], [info.name], name=f"{info.name}_output"))
    made = helper.make_graph(
        graph.nodes, name, [_value(info) for info in inputs], [_value(info) for info in outputs], graph.constants
    )
    opset, ir_version = (_WIDE_OPSET, _WIDE_IR_VERSION) if graph.wide else (_OPSET, _IR_VERSION)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    model.producer_name = PRODUCER
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as e:
        raise UserError(f"the network can't be written as ONNX: {' '.join(str(e).split())[:200]}") from e
    return model


class _Graph:
    """Nodes and constants of a model that is being made.

    Parameters
    ----------
    bound : passes.graph.rewrite.Graph
        The module.
    reserved : sequence of str
        Names of inputs and outputs.
    """

    def __init__(self, bound: Graph, reserved: Sequence[str]) -> None:
        self.bound = bound
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.names: dict[relax.Var, str] = {}
        self.wide = False  # whether something is int16
        self._used = set(reserved)
        self._biased = dict(_biased_layers(bound))
        self._layers = {layer for layer, _, _ in self._biased.values()}

    def bind(self, var: relax.Var, value: relax.Expr) -> None:
        """A node for a variable, unless it is one with another's."""
        from tvm import relax

        if var in self._biased:
            layer, call, bias = self._biased[var]
            self._call(layer, call, [self._weights(f"{layer.name}_bias", bias, flat=True)])
            self.names[var] = self.names[layer]
        elif isinstance(value, relax.Call) and var not in self._layers and not _is_constant(value):
            self._call(var, value)

    def fields(self, expr: relax.Expr, reader: str = "output") -> list[str]:
        """The names of the tensors that an expression stands for; none of a shape, which the rule of its call knows."""
        from tvm import ir, relax

        value = self.bound.values.get(expr, expr) if isinstance(expr, relax.Var) else expr
        if expr in self.names:
            return [self.names[expr]]
        if isinstance(value, relax.Tuple):
            return [name for field in value.fields for name in self.fields(field, reader)]
        if isinstance(value, relax.TupleGetItem):
            return [self.fields(value.tuple_value, reader)[value.index]]
        if isinstance(value, relax.Var):
            return self.fields(value, reader)
        if isinstance(value, ir.GenericConst):
            return [self._constant(value.value.numpy(), f"{reader}_constant")]
        if not _is_constant(value):
            return []
        self.names[expr] = self._weights(expr.name, value)  # once for all readers
        return [self.names[expr]]

    def _call(self, var: relax.Var, call: relax.Call, more: Sequence[str] = ()) -> None:
        rule = written(call)
        if rule is None:
            what = getattr(call.op, "name", "a function of its own")
            raise UserError(f"node {var.name} ({what}) can't be written as ONNX")
        self.wide |= str(call.ty.dtype) == "int16"
        kind = "Gemm" if more and rule.kind == "MatMul" else rule.kind
        args = [call.args[i] for i in rule.operands] if rule.operands is not None else list(call.args)
        operands = [name for arg in args for name in self.fields(arg, var.name)]
        operands += [self._constant(values, f"{var.name}_{kind}") for values in rule.constants]
        self.names[var] = self._emit(kind, [*operands, *more], var.name, **rule.attributes)

    def _weights(self, name: str, call: relax.Call | np.ndarray, *, flat: bool = False) -> str:
        """Dequantized integers, or numbers; as one axis if `flat`."""
        if isinstance(call, np.ndarray):
            return self._constant(call.reshape(-1), name)
        values, scale = (arg.value.numpy() for arg in call.args[:2])
        operands = [
            self._constant(values.reshape(-1) if flat else values, f"{name}_q"),
            self._constant(scale, f"{name}_scale"),
        ]
        return self._emit("DequantizeLinear", operands, name, axis=0 if flat else int(call.attrs.axis))

    def _emit(self, kind: str, operands: Sequence[str], name: str, **attributes: Any) -> str:
        result = unique(name, self._used)
        self.nodes.append(helper.make_node(kind, operands, [result], name=result, **attributes))
        return result

    def _constant(self, values: np.ndarray, name: str) -> str:
        if not np.asarray(values).size:
            return ""  # an operand that is left out
        name = unique(name, self._used)
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def _is_constant(value: relax.Expr) -> bool:
    """Whether it is integers that are dequantized."""
    from eq_tvm.passes.graph.rewrite import array, operator_name

    return operator_name(value) == "relax.dequantize" and array(value.args[0]) is not None


def _biased_layers(bound: Graph) -> Iterator[tuple[relax.Var, tuple[relax.Var, relax.Call, relax.Call | np.ndarray]]]:
    """By the sum: a layer with no other reader, its call, and the bias, which has one number for each channel."""
    from eq_tvm.passes.graph.rewrite import array, operator_name, shape

    for var, value in bound.values.items():
        if operator_name(value) != "relax.add":
            continue
        layer = bound.sole_call(value.args[0], "relax.nn.conv2d", "relax.matmul")
        bias = bound.values.get(value.args[1])
        constant = array(value.args[1]) if bias is None else array(bias.args[0]) if _is_constant(bias) else None
        if layer is None or constant is None or (operator_name(layer) == "relax.matmul" and len(shape(value)) != 2):
            continue
        if constant.size == shape(value)[1] == max(constant.shape):
            yield var, (value.args[0], layer, constant if bias is None else bias)


def _value(info: TensorInfo) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype))
    return helper.make_tensor_value_info(info.name, kind, list(info.shape))
