"""Give a canonical module other weights and biases."""

import numpy as np
import tvm
from tvm import relax

from .network import Network, substitute
from .rewrite import emit_named


def replace_constants(mod: tvm.IRModule, net: Network, constants: dict[int, np.ndarray]) -> tvm.IRModule:
    """The module with these constants, by the conv2d, dense or bias_add node; names and everything else stay."""
    builder = relax.BlockBuilder()
    current: dict[int, relax.Expr] = {}
    with builder.function("main", list(mod["main"].params)):
        with builder.dataflow():
            for i, node in enumerate(net.nodes):
                if node.op == "input":
                    current[i] = node.expr
                    continue
                expr = substitute(node.expr, lambda var: current[net.var_node[var]])
                if i in constants:
                    constant = relax.const(constants[i].astype(np.float32))
                    expr = relax.Call(expr.op, [expr.args[0], constant], expr.attrs)
                current[i] = emit_named(builder, expr, node.name)
            outputs = [builder.emit_output(current[i]) for i in net.outputs]
        is_tuple = isinstance(mod["main"].body.body, relax.Tuple)
        builder.emit_func_output(relax.Tuple(outputs) if is_tuple else outputs[0])
    replaced = tvm.IRModule(mod.functions, attrs=mod.attrs)
    replaced["main"] = builder.get()["main"].with_attrs(mod["main"].attrs)
    return replaced
