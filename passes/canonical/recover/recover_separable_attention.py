"""Separable attention becomes a product of matrices and one with a pixel, which integers know."""

import tvm
from tvm import relax

from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape
from .one_axis import over_one_axis


@relax_pass
class RecoverSeparableAttention:
    """Write ``values * sum(keys * shares)``, a sum over tokens, as ``values * (shares @ keys)``.

    That is attention whose scores are one for each token (MobileViT V2, arXiv 2206.02680): keys and values are (B, C,
    P, N), shares (B, 1, P, N), and their sum (B, C, P, 1), the context, multiplies the values of all tokens. It is seen
    as the one pixel of a channel, for each of C and P.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.multiply" or len(shape(value)) != 4:
        return None
    for values, other in (list(value.args), list(value.args)[::-1]):
        context = _context(graph, other)
        if context is None or array(values) is not None or shape(values) != shape(value):
            continue
        batch, channels, parts, count = shape(value)
        pixels = relax.op.reshape(values, (batch, channels * parts, count, 1))
        pixel = relax.op.reshape(context, (batch, channels * parts, 1, 1))
        return {var: relax.op.reshape(relax.op.multiply(pixels, pixel), shape(value))}
    return None


def _context(graph: Graph, expr: relax.Expr) -> relax.Expr | None:
    """``sum(keys * shares)`` over the last axis, perhaps broadcast."""
    if (spread := graph.call(expr, "relax.broadcast_to")) is not None:
        expr = spread.args[0]
    total = over_one_axis(graph, expr, "relax.sum")
    product = None if total is None or total[1] != 3 else graph.call(total[0], "relax.multiply")
    for keys, shares in () if product is None else (list(product.args), list(product.args)[::-1]):
        batch, _, parts, count = shape(product)
        whole = shape(keys) == shape(product) and array(keys) is None
        if whole and shape(shares) == (batch, 1, parts, count) and graph.call(shares, "relax.nn.softmax") is not None:
            rows = relax.op.reshape(shares, (batch, parts, 1, count))
            mixed = relax.op.matmul(rows, relax.op.permute_dims(keys, [0, 2, 3, 1]))
            return relax.op.permute_dims(mixed, [0, 3, 1, 2])
    return None
