"""One way to write each operator that moves, selects or reduces over whole axes, and powers."""

from collections.abc import Callable

import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape, transposed_axes

_Slices = dict[int, tuple[int, int, int]]  # axis: (begin, end, stride)


@relax_pass
class NormalizeShapes:
    """Reshape, strided slice, mean and max over the image, and powers in one form each.

    - ``squeeze``, ``expand_dims``, ``flatten`` become ``reshape``, and adjacent ones one;
    - ``split``, and ``take`` of constant places at one distance, become ``strided_slice``; begin and end lie within the
      shape, and slices of different axes become one (negative strides stay as they are);
    - ``mean`` over height and width is ``mean(x, axis=[2, 3], keepdims=True)``, and a ``reshape`` if it dropped them;
    - ``softmax`` over an axis that is not the last one, of what a product of matrices reads, is between transposes;
    - values by transposed shares (YOLO11) are shares by transposed values, transposed: shares get 12 bits as the first
      operand, and the result has channels side by side;
    - ``max`` over height and width of float32 is ``max_pool2d``;
    - the exponent of a ``power``, if it is one number, has no axes: kernels then know it, and multiply.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _normalize)


def _normalize(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if isinstance(value, relax.TupleGetItem):
        return _split(graph, var, value)
    rule = _RULES.get(operator_name(value))
    normal = rule(graph, value) if rule else None
    return {var: normal} if normal is not None else None


def _reshape(graph: Graph, call: relax.Call) -> relax.Expr | None:
    inner = graph.call(call.args[0], *_RESHAPES)
    if inner is None and operator_name(call) == "relax.reshape":
        return None
    data = call.args[0] if inner is None else inner.args[0]
    return data if shape(data) == shape(call) else relax.op.reshape(data, shape(call))


def _mean(_graph: Graph, call: relax.Call) -> relax.Expr | None:
    axes = _image_axes(call)
    if axes is None or (axes == [int(axis) for axis in call.attrs.axis] and call.attrs.keepdims):
        return None
    mean = relax.op.mean(call.args[0], axes, keepdims=True)
    return mean if call.attrs.keepdims else relax.op.reshape(mean, shape(call))


def _max(_graph: Graph, call: relax.Call) -> relax.Expr | None:
    if _image_axes(call) is None or str(call.ty.dtype) != "float32":
        return None
    pool = relax.op.nn.max_pool2d(call.args[0], shape(call.args[0])[2:])
    return pool if call.attrs.keepdims else relax.op.reshape(pool, shape(call))


def _softmax(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """Attention whose rows are not stored side by side. Of classes for each pixel, which stay float, it would cost."""
    rank = len(shape(call))
    axis = int(call.attrs.axis) % rank
    if axis == rank - 1 or not _multiplied(graph, call):
        return None
    order = [*(other for other in range(rank) if other != axis), axis]
    rows = relax.op.nn.softmax(relax.op.permute_dims(call.args[0], order), -1)
    return relax.op.permute_dims(rows, [order.index(i) for i in range(rank)])


def _shares_first(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """A product whose second operand is a transposed ``softmax``: x A^T = (A x^T)^T."""
    values, second = call.args
    moved, rank = graph.call(second, "relax.permute_dims"), len(shape(second))
    swapped = [*range(rank - 2), rank - 1, rank - 2]
    if moved is None or rank < 2 or list(transposed_axes(moved)) != swapped or shape(values)[:-2] != shape(second)[:-2]:
        return None
    if array(values) is not None or graph.call(moved.args[0], "relax.nn.softmax") is None:
        return None
    product = relax.op.matmul(moved.args[0], relax.op.permute_dims(values, swapped))
    return relax.op.permute_dims(product, swapped)


def _multiplied(graph: Graph, call: relax.Call) -> bool:
    """Whether a product of matrices reads the result, perhaps transposed or reshaped."""
    result = next(var for var, value in graph.values.items() if value.same_as(call))
    readers = [value for var in graph.readers.get(result, ()) if isinstance(value := graph.values[var], relax.Call)]
    return any(
        operator_name(reader) == "relax.matmul"
        or (operator_name(reader) in ("relax.permute_dims", *_RESHAPES) and _multiplied(graph, reader))
        for reader in readers
    )


def _image_axes(call: relax.Call) -> list[int] | None:
    """[2, 3] where a reduction is over the height and width of an NCHW tensor, else None."""
    rank = len(shape(call.args[0]))
    axes = sorted(int(axis) % rank for axis in call.attrs.axis or ())
    return axes if rank == 4 and axes == [2, 3] else None


def _power(_graph: Graph, call: relax.Call) -> relax.Expr | None:
    base, exponent = call.args[0], array(call.args[1])
    if exponent is None or exponent.size != 1 or exponent.ndim == 0 or shape(base) != shape(call):
        return None
    return relax.op.power(base, relax.const(exponent.reshape(()), str(exponent.dtype)))


def _split(graph: Graph, var: relax.Var, item: relax.TupleGetItem) -> NewValues | None:
    split = graph.call(item.tuple_value, "relax.split")
    if split is None:
        return None
    data, axis, sections = split.args[0], int(split.attrs.axis), split.attrs.indices_or_sections
    extents = shape(data)
    axis %= len(extents)
    if isinstance(sections, tvm.tirx.IntImm):
        width = -(-extents[axis] // int(sections))
        cuts = [min(i * width, extents[axis]) for i in range(int(sections) + 1)]
    else:
        cuts = [0, *(int(index) for index in sections), extents[axis]]
    return {var: relax.op.strided_slice(data, [axis], [cuts[item.index]], [cuts[item.index + 1]], [1])}


def _take(_graph: Graph, call: relax.Call) -> relax.Expr | None:
    data, places = call.args[0], array(call.args[1])
    if places is None or places.ndim > 1 or places.size == 0 or call.attrs.axis is None:
        return None
    axis = int(call.attrs.axis) % len(shape(data))
    first, last = int(places.flat[0]), int(places.flat[-1])
    step = (last - first) // max(places.size - 1, 1) or 1
    if first < 0 or last >= shape(data)[axis] or step < 0 or places.ravel().tolist() != [*range(first, last + 1, step)]:
        return None
    part = relax.op.strided_slice(data, [axis], [first], [last + 1], [step])
    return part if places.ndim == 1 else relax.op.reshape(part, shape(call))


def _strided_slice(graph: Graph, call: relax.Call) -> relax.Expr | None:
    normal = _slices(call)
    if normal is None:
        return None
    inner = graph.sole_call(call.args[0], "relax.strided_slice")
    inner_slices = _slices(inner) if inner is not None else None
    if inner is not None and inner_slices and normal.keys().isdisjoint(inner_slices):
        return _slice_call(inner.args[0], normal | inner_slices)
    if _slice_rows(normal) == list(zip(*_slice_operands(call), strict=True)):
        return None
    return _slice_call(call.args[0], normal)


def _slice_call(data: relax.Expr, slices: _Slices) -> relax.Expr:
    if not slices:
        return data
    return relax.op.strided_slice(data, *map(list, zip(*_slice_rows(slices), strict=True)))


def _slice_rows(slices: _Slices) -> list[tuple[int, int, int, int]]:
    return sorted((axis, *bounds) for axis, bounds in slices.items())


def _slices(call: relax.Call) -> _Slices | None:
    """Begin and end are within the shape, whole axes are left out; None for negative strides."""
    slices, extents = _Slices(), shape(call.args[0])
    for axis, begin, end, stride in zip(*_slice_operands(call), strict=True):
        axis %= len(extents)
        if stride < 0:
            return None
        begin, end, _ = slice(begin, end).indices(extents[axis])
        if (begin, end, stride) != (0, extents[axis], 1):
            slices[axis] = (begin, end, stride)
    return slices


def _slice_operands(call: relax.Call) -> tuple[list[int], list[int], list[int], list[int]]:
    """Axes, begin, end, strides."""
    axes, begin, end = ([int(value) for value in arg] for arg in call.args[1:4])
    strides = [int(value) for value in call.args[4]] if len(call.args) > 4 else [1] * len(axes)
    return axes, begin, end, strides


_RESHAPES = ("relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten")
_RULES: dict[str | None, Callable[[Graph, relax.Call], relax.Expr | None]] = {
    **dict.fromkeys(_RESHAPES, _reshape),
    "relax.mean": _mean,
    "relax.max": _max,
    "relax.nn.softmax": _softmax,
    "relax.matmul": _shares_first,
    "relax.power": _power,
    "relax.strided_slice": _strided_slice,
    "relax.take": _take,
}
