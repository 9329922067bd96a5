"""Operators that ONNX has only in versions newer than what is written, by those that it has always had."""

import tvm
from tvm import relax

from eq_tvm.passes.graph.rewrite import Graph, NewValues, operator_name, rewrite


def written_out(module: tvm.IRModule) -> tvm.IRModule:
    """The module with RMS normalization as squares, their mean and a root: an operator of its own in opset 23."""
    return rewrite(module, _written_out)


def _written_out(_graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.nn.rms_norm":
        return None
    (x, gamma), axes = value.args, [int(axis) for axis in value.attrs.axes]
    mean = relax.op.mean(relax.op.multiply(x, x), axes, keepdims=True)
    root = relax.op.sqrt(relax.op.add(mean, relax.const(float(value.attrs.epsilon), "float32")))
    return {var: relax.op.multiply(relax.op.divide(x, root), gamma)}
