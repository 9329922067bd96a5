"""Dequantize before integers are moved, not behind."""

import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite

# What gives some of a tensor's elements, whatever these are
_MOVES = (
    "relax.permute_dims",
    "relax.reshape",
    "relax.flatten",
    "relax.squeeze",
    "relax.expand_dims",
    "relax.strided_slice",
    "relax.nn.max_pool2d",
)


@relax_pass
class LiftDequantize:
    """``dequantize(reshape(quantize(x)))`` becomes ``reshape(dequantize(quantize(x)))``, and so for all that moves.

    Networks of operators on integers (ONNX's QLinearConv and others) move these, where those of quantize/dequantize
    pairs move real numbers.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _lift)


def _lift(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.dequantize" or any(
        (p := array(a)) is None or p.size != 1 for a in value.args[1:]
    ):
        return None
    if (concat := graph.call(value.args[0], "relax.concat")) is not None:
        fields = [_dequantized(value, field) for field in concat.args[0]]
        return {var: relax.op.concat(fields, concat.attrs.axis)}
    moved = graph.call(value.args[0], *_MOVES)
    if moved is None:
        return None
    return {var: tvm.ir.Call(moved.op, [_dequantized(value, moved.args[0]), *moved.args[1:]], moved.attrs)}


def _dequantized(like: relax.Call, integers: relax.Expr) -> relax.Expr:
    return relax.op.dequantize(integers, *like.args[1:], axis=-1, out_dtype=like.attrs.out_dtype)
