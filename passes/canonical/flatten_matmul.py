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
    A x = (x^T A^T)^T. A constant that is a stack of matrices, one for each head, becomes a grouped convolution with a
    window of one pixel: queries that a network has learned, for one, or relative positions for each head.
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
    return _grouped(var, value)


def _dense(var: relax.Var, call: relax.Call, data: relax.Expr, weights: np.ndarray) -> NewValues | None:
    extents = shape(data)
    if len(extents) == 2 and len(shape(call.args[1])) == 2:
        return None
    rows = int(np.prod(extents[:-1]))
    product = relax.op.matmul(relax.op.reshape(data, (rows, extents[-1])), relax.const(weights))
    return {var: relax.op.reshape(product, shape(call))}


def _grouped(var: relax.Var, call: relax.Call) -> NewValues | None:
    """As the convolution of an image (1, groups * K, matrices that share weights, N) by (groups * M, K, 1, 1)."""
    swapped = array(call.args[0]) is None  # x A = (A^T x^T)^T
    data, stack = call.args if swapped else call.args[::-1]
    values, rank = array(stack), len(shape(call))
    if values is None or values.dtype != np.float32 or not isinstance(data, relax.Var) or len(shape(data)) != rank:
        return None
    lead, values = shape(call)[:-2], values.reshape((1,) * (rank - values.ndim) + values.shape)
    if shape(data)[:-2] != lead:
        return None
    weights = values.swapaxes(-1, -2) if swapped else values
    apart = [axis for axis in range(rank - 2) if values.shape[axis] > 1]
    shared = [axis for axis in range(rank - 2) if values.shape[axis] == 1]
    depth, width = (rank - 1, rank - 2) if swapped else (rank - 2, rank - 1)
    order = [*apart, depth, *shared, width]
    groups, (m, k) = int(np.prod([lead[axis] for axis in apart])), weights.shape[-2:]
    image = (1, groups * k, int(np.prod([lead[axis] for axis in shared])), shape(data)[width])
    kernel = relax.const(np.ascontiguousarray(weights.reshape(groups * m, k, 1, 1)))
    product = relax.op.nn.conv2d(relax.op.reshape(_permuted(data, order), image), kernel, groups=groups)
    extents = [m if axis == depth else shape(data)[axis] for axis in order]
    return {var: _permuted(relax.op.reshape(product, extents), [int(axis) for axis in np.argsort(order)])}


def _permuted(data: relax.Expr, order: list[int]) -> relax.Expr:
    return data if order == sorted(order) else relax.op.permute_dims(data, order)


def _matrix(expr: relax.Expr) -> np.ndarray | None:
    """The one matrix that a float32 constant consists of."""
    values = array(expr)
    if values is None or values.dtype != np.float32 or values.ndim < 2 or int(np.prod(values.shape[:-2])) != 1:
        return None
    return values.reshape(values.shape[-2:])
