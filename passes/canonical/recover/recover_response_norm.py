"""Global response normalization becomes averages, functions of elements and products, which integers know."""

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ...graph.pointwise import number
from ...graph.relax_pass import relax_pass
from ...graph.rewrite import Graph, NewValues, operator_name, rewrite, shape
from .one_axis import over_one_axis, squared


@relax_pass
class RecoverResponseNorm:
    """Write ``x * norm / (mean(norm) + epsilon)``, the norm over an image's pixels, the mean over channels, in NCHW.

    That is global response normalization (ConvNeXt V2, arXiv 2301.00808). The norm becomes the root of a mean over
    height and width; the norms of an image's channels are seen as pixels of one channel, whose mean is one over height
    and width, too, and their quotient a product with one pixel. Channels may be the second axis or the last.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _recover)


@dataclass(frozen=True)
class _Norm:
    """The root of the sum of squares over the pixels of an image."""

    var: relax.Var
    source: relax.Var
    channels: int  # axis


_NCHW, _NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def _recover(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.multiply":
        return None
    for x, other in (list(value.args), list(value.args)[::-1]):
        found = _response(graph, other)
        if found is not None and found[0].source == x:
            return _written(var, *found)
    return None


def _response(graph: Graph, expr: relax.Expr) -> tuple[_Norm, float] | None:
    """The norm, and epsilon, of ``norm / (mean(norm) + epsilon)``."""
    quotient = graph.call(expr, "relax.divide")
    norm = None if quotient is None else _norm(graph, quotient.args[0])
    total = None if quotient is None else graph.call(quotient.args[1], "relax.add")
    if norm is None or total is None:
        return None
    for operand, other in (list(total.args), list(total.args)[::-1]):
        mean, epsilon = over_one_axis(graph, operand, "relax.mean"), number(other)
        if mean is None or epsilon is None or not 0 <= epsilon < np.inf:
            continue
        if _norm(graph, mean[0]) == norm and mean[1] == norm.channels:
            return norm, float(epsilon)
    return None


def _norm(graph: Graph, expr: relax.Expr) -> _Norm | None:
    root = graph.call(expr, "relax.sqrt", "relax.power")
    if root is None or (root.op.name == "relax.power" and number(root.args[1]) != 0.5):
        return None
    total = graph.call(root.args[0], "relax.sum")
    base = None if total is None else squared(graph, total.args[0])
    magnitude = None if base is None else graph.call(base, "relax.abs")
    base = base if magnitude is None else magnitude.args[0]
    if total is None or not isinstance(base, relax.Var) or len(shape(base)) != 4 or not total.attrs.keepdims:
        return None
    axes = {int(axis) % 4 for axis in total.attrs.axis or ()}
    return _Norm(expr, base, 1) if axes == {2, 3} else _Norm(expr, base, 3) if axes == {1, 2} else None


def _written(var: relax.Var, norm: _Norm, epsilon: float) -> NewValues:
    last = norm.channels == 3
    x = relax.op.permute_dims(norm.source, _NCHW) if last else norm.source
    batch, channels, height, width = (shape(norm.source)[axis] for axis in (_NCHW if last else range(4)))
    square = relax.op.mean(relax.op.power(x, relax.const(2.0)), [2, 3], keepdims=True)
    root = relax.op.sqrt(relax.op.multiply(square, relax.const(float(height * width), "float32")))
    pixels = relax.op.reshape(norm.var, (batch, 1, channels, 1))
    mean = relax.op.mean(pixels, [2, 3], keepdims=True)
    inverse = relax.op.divide(relax.const(1.0), relax.op.add(mean, relax.const(epsilon, "float32")))
    response = relax.op.reshape(relax.op.multiply(pixels, inverse), (batch, channels, 1, 1))
    result = relax.op.multiply(x, response)
    return {
        norm.var: relax.op.reshape(root, shape(norm.var)) if last else root,
        var: relax.op.permute_dims(result, _NHWC) if last else result,
    }
