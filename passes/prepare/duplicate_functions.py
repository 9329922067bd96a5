"""A copy of each quantized pointwise function for what reads it in float: it leaves the integers without rounding."""

import tvm
from tvm import relax

from ..graph.network import Network, read_network, substitute
from ..graph.rebuild import rebuild
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import emit_named
from ..quantized.quantization_points import quantization_points, reads_quantized

_MOVES = {"reshape", "permute_dims", "strided_slice"}


@relax_pass
class DuplicateFunctions:
    """Let the outputs and float operators of a canonical module read copies of the functions that layers read, too.

    A sigmoid that a layer reads is quantized, with the scale of all that the layer reads: of a concatenation, for one,
    whose other operands may be a hundred times as large. A copy that no layer reads is not. It becomes a second table,
    from the integers of its operand to float32, instead of the loop that makes floats of the function's own integers.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Copy functions, and what moves their elements on the way to such readers."""
        net = read_network(mod)
        quantized = set(quantization_points(net, "int8", "unsigned").scale_group_of)
        copied = _copied(net, quantized)
        originals: dict[relax.Expr, relax.Expr] = {}  # by their copies

        def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
            """The result of a node: of those that are copied, the copy."""
            node = net.nodes[i]
            if node.op == "input":
                return expr
            reads = [j for j in node.inputs if j in copied and reads_quantized(net, j, i, quantized)]
            original = substitute(expr, lambda var: originals.get(var, var)) if reads else expr
            var = emit_named(builder, original, node.name)
            if i not in copied:
                return var
            copy = emit_named(builder, expr, f"{node.name}_copy")
            originals[copy] = var
            return copy

        return rebuild(mod, net, bind) if copied else mod


def _copied(net: Network, quantized: set[int]) -> set[int]:
    """Quantized functions, and quantized results of what moves their elements, that something reads in float."""
    wanted: set[int] = set()
    for i in sorted(quantized, reverse=True):
        readers = (user in wanted or not reads_quantized(net, i, user, quantized) for user in net.users[i])
        if net.nodes[i].op in {"pointwise", *_MOVES} and (i in net.outputs or any(readers)):
            wanted.add(i)
    copied: set[int] = set()
    for i in sorted(wanted):
        if net.nodes[i].op == "pointwise" or net.nodes[i].inputs[0] in copied:
            copied.add(i)
    return copied
