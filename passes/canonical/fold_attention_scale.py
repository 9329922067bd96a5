"""What scores of attention are scaled by goes into the dense layer that makes queries or keys."""

import numpy as np
import tvm
from tvm import relax

from ..graph.pointwise import number
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape, transposed_axes, variables


@relax_pass
class FoldAttentionScale:
    """Multiply columns of a dense layer's weights and bias by the number that their results are multiplied by later.

    Reshapes, transposes and slices may stand between, and a product of matrices whose first operand it is: queries,
    divided by the root of their length in the operands or in the product. Nothing else may read these columns. Numbers
    for each head, the temperatures of normalized queries and keys, go in front of the product: scores have a finer step
    where nothing multiplies them.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _fold)


def _fold(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) not in ("relax.multiply", "relax.divide"):
        return None
    data, factor = value.args
    if value.op.name == "relax.multiply" and array(data) is not None:
        data, factor = factor, data
    if (temperatures := array(factor)) is not None and temperatures.size > 1:
        return _in_front(graph, var, value, data, temperatures)
    by = number(factor)
    if by is None or not isinstance(data, relax.Var) or shape(data) != shape(value) or not np.isfinite(by) or by == 0:
        return None
    product = graph.sole_call(data, "relax.matmul")
    source = data if product is None else product.args[0]
    by = by if value.op.name == "relax.multiply" else 1 / by
    root, moves = source, []
    while (move := graph.call(root, *_MOVES)) is not None:
        root = move.args[0]
        moves.append(move)
    layer = _layer(graph, root)
    if layer is None or (product is not None and array(product.args[1]) is not None):
        return None
    places = np.arange(int(np.prod(shape(root)))).reshape(shape(root))
    reads = _reads(graph, root, places)
    for move in reversed(moves):
        places = _moved(move, places)
    width = shape(root)[1]
    readers = np.sum([np.isin(np.arange(width), read % width) for read in reads], axis=0)
    columns = np.isin(np.arange(width), places % width)
    if (readers[columns] > 1).any():
        return None
    data_in, constants = layer
    scaled = [relax.const(np.where(columns, constant * by, constant).astype("float32")) for constant in constants]
    inner = relax.op.matmul(data_in, scaled[0])
    return {var: data, root: relax.op.add(inner, scaled[1]) if len(scaled) > 1 else inner}


def _in_front(
    graph: Graph, var: relax.Var, value: relax.Call, data: relax.Expr, factors: np.ndarray
) -> NewValues | None:
    """Factors that are the same for all of a matrix multiply the first operand of the product."""
    product = graph.sole_call(data, "relax.matmul")
    if product is None or shape(product) != shape(value) or set(factors.shape[-2:]) != {1}:
        return None
    first, second = product.args
    if array(first) is not None or array(second) is not None or shape(first)[:-2] != shape(value)[:-2]:
        return None
    scaled = relax.Call(value.op, [first, relax.const(factors)], value.attrs)
    return {var: relax.op.matmul(scaled, second)}


def _layer(graph: Graph, root: relax.Expr) -> tuple[relax.Expr, list[np.ndarray]] | None:
    """The input, and weights and bias, if there is one, of a dense layer."""
    total = graph.call(root, "relax.add")
    product = graph.call(root, "relax.matmul") if total is None else graph.sole_call(total.args[0], "relax.matmul")
    if product is None or (weight := array(product.args[1])) is None or weight.ndim != 2 or len(shape(product)) != 2:
        return None
    if total is None:
        return product.args[0], [weight]
    bias = array(total.args[1])
    if bias is None or bias.shape != weight.shape[1:]:
        return None
    return product.args[0], [weight, bias]


def _reads(graph: Graph, root: relax.Expr, places: np.ndarray) -> list[np.ndarray]:
    """The places of elements that each operand of an operator that is no move is made of, and each output."""
    found = []
    pending = [(root, places)]
    while pending:
        tensor, places = pending.pop()
        if tensor in graph.outputs:
            found.append(places)
        for var in graph.readers.get(tensor, ()):
            value = graph.values[var]
            if operator_name(value) in _MOVES or isinstance(value, relax.Var):
                pending.append((var, places if isinstance(value, relax.Var) else _moved(value, places)))
            else:
                args = value.args if isinstance(value, relax.Call) else [value]
                found += [places for arg in args if tensor in variables(arg)]
    return found


def _moved(call: relax.Call, places: np.ndarray) -> np.ndarray:
    if call.op.name == "relax.reshape":
        return places.reshape(shape(call))
    if call.op.name == "relax.permute_dims":
        return places.transpose(transposed_axes(call))
    axes, begin, end, *strides = ([int(value) for value in arg] for arg in call.args[1:])
    index = [slice(None)] * places.ndim
    for axis, *ends in zip(axes, begin, end, *(strides or [[1] * len(axes)]), strict=True):
        index[axis] = slice(*ends)
    return places[tuple(index)]


_MOVES = ("relax.reshape", "relax.permute_dims", "relax.strided_slice")
