"""Matrix products by constant weights as dense layers: one matrix of rows, whatever axes they come from."""

import numpy as np
import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class FlattenMatmul:
    """Make each ``matmul`` of an activation and one constant matrix a product of a (rows, K) by a (K, N) matrix.

    Between reshapes where the activation has more axes, or fewer; between transposes where the constant comes first, as
    A x = (x^T A^T)^T. Constants that are a stack of matrices stay as they are.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _flatten)


def _flatten(_graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.matmul":
        return None
    first, second = value.args
    left, right = _matrix(first), _matrix(second)
    if right is not None and left is None:
        return _dense(var, value, first, right)
    if left is not None and right is None and len(shape(second)) >= 2:
        rank = len(shape(second))
        swapped = [*range(rank - 2), rank - 1, rank - 2]
        product = relax.op.matmul(relax.op.permute_dims(second, swapped), relax.const(np.ascontiguousarray(left.T)))
        return {var: relax.op.reshape(relax.op.permute_dims(product, swapped), shape(value))}
    return None


def _dense(var: relax.Var, call: relax.Call, data: relax.Expr, weights: np.ndarray) -> NewValues | None:
    extents = shape(data)
    if len(extents) == 2 and len(shape(call.args[1])) == 2:
        return None
    rows = int(np.prod(extents[:-1]))
    product = relax.op.matmul(relax.op.reshape(data, (rows, extents[-1])), relax.const(weights))
    return {var: relax.op.reshape(product, shape(call))}


def _matrix(expr: relax.Expr) -> np.ndarray | None:
    """The one matrix that a float32 constant consists of."""
    values = array(expr)
    if values is None or values.dtype != np.float32 or values.ndim < 2 or int(np.prod(values.shape[:-2])) != 1:
        return None
    return values.reshape(values.shape[-2:])
