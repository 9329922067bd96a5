"""A canonical module anew, with other expressions at its nodes."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import tvm
from tvm import relax

from .network import Network, substitute
from .rewrite import emit_named

Bind = Callable[[relax.BlockBuilder, int, relax.Expr], relax.Expr]


def rebuild(
    mod: tvm.IRModule, net: Network, bind: Bind, given: Mapping[int, Collection[int]] | None = None
) -> tvm.IRModule:
    """The module with `main` made anew: `bind(builder, node, expr)` gives the variable that stands for a node's result.

    `expr` is what the node was bound to, or the parameter that it is, of variables that were given before. `given` has
    for some parameters the nodes that read these themselves, whatever stands for them, as outputs of them do.
    """
    builder = relax.BlockBuilder()
    given = given or {}
    current: dict[int, relax.Expr] = {}

    def read_by(reader: int) -> Callable[[relax.Var], relax.Expr]:
        def read(var: relax.Var) -> relax.Expr:
            i = net.var_node[var]
            return net.nodes[i].expr if reader in given.get(i, ()) else current[i]

        return read

    with builder.function("main", list(mod["main"].params)):
        with builder.dataflow():
            for i, node in enumerate(net.nodes):
                expr = node.expr
                if node.op != "input":
                    expr = substitute(expr, read_by(i))
                current[i] = bind(builder, i, expr)
            outputs = {i: builder.emit_output(net.nodes[i].expr if i in given else current[i]) for i in net.outputs}
        # A tuple, one variable, which may be bound to a tuple, or a constant
        builder.emit_func_output(substitute(mod["main"].body.body, lambda var: outputs[net.var_node[var]]))
    rebuilt = tvm.IRModule(mod.functions, attrs=mod.attrs)
    rebuilt["main"] = builder.get()["main"].with_attrs(mod["main"].attrs)
    return rebuilt


Constants = np.ndarray | tuple[np.ndarray, ...]


def replace_constants(mod: tvm.IRModule, net: Network, constants: Mapping[int, Constants]) -> tvm.IRModule:
    """The module with these weights and biases, by the conv2d, dense or bias_add node; all that others have."""

    def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
        if i in constants:
            given = constants[i]
            found = given if isinstance(given, tuple) else (given,)
            replaced = [relax.const(constant.astype(np.float32)) for constant in found]
            expr = relax.Call(expr.op, [expr.args[0], *replaced], expr.attrs)
        return expr if net.nodes[i].op == "input" else emit_named(builder, expr, net.nodes[i].name)

    return rebuild(mod, net, bind)
