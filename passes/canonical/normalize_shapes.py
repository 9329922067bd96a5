"""One way to write each operator that moves, selects or reduces over whole axes."""

import tvm
from tvm import relax

from ..graph.rewrite import operator_name, rewrite, shape


@tvm.transform.module_pass(opt_level=0, name="NormalizeShapes")
class NormalizeShapes:
    """Reshape, strided slice, mean and max over the image in one form each.

    - ``squeeze``, ``expand_dims``, ``flatten`` become ``reshape``, and adjacent ones one;
    - ``split`` becomes ``strided_slice``; begin and end lie within the shape, and slices of different axes become one
      (negative strides stay as they are);
    - ``mean`` over height and width is ``mean(x, axis=[2, 3], keepdims=True)``, and a ``reshape`` if it dropped them;
    - ``max`` over height and width is ``max_pool2d``.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, _normalize)


def _normalize(graph, var, value):
    if isinstance(value, relax.TupleGetItem):
        return _split(graph, var, value)
    rule = _RULES.get(operator_name(value))
    normal = rule(graph, value) if rule else None
    return {var: normal} if normal is not None else None


def _reshape(graph, call):
    inner = graph.sole_call(call.args[0], *_RESHAPES)
    if inner is None and operator_name(call) == "relax.reshape":
        return None
    data = call.args[0] if inner is None else inner.args[0]
    return data if shape(data) == shape(call) else relax.op.reshape(data, shape(call))


def _mean(_graph, call):
    axes = _image_axes(call)
    if axes is None or (axes == [int(axis) for axis in call.attrs.axis] and call.attrs.keepdims):
        return None
    mean = relax.op.mean(call.args[0], axes, keepdims=True)
    return mean if call.attrs.keepdims else relax.op.reshape(mean, shape(call))


def _max(_graph, call):
    if _image_axes(call) is None:
        return None
    pool = relax.op.nn.max_pool2d(call.args[0], shape(call.args[0])[2:])
    return pool if call.attrs.keepdims else relax.op.reshape(pool, shape(call))


def _image_axes(call):
    """[2, 3] where a reduction is over the height and width of an NCHW tensor, else None."""
    rank = len(shape(call.args[0]))
    axes = sorted(int(axis) % rank for axis in call.attrs.axis or ())
    return axes if rank == 4 and axes == [2, 3] else None


def _split(graph, var, item):
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


def _strided_slice(graph, call):
    normal = _slices(call)
    if normal is None:
        return None
    inner = graph.sole_call(call.args[0], "relax.strided_slice")
    inner_slices = _slices(inner) if inner is not None else None
    if inner_slices and normal.keys().isdisjoint(inner_slices):
        return _slice_call(inner.args[0], normal | inner_slices)
    if _slice_rows(normal) == list(zip(*_slice_operands(call), strict=True)):
        return None
    return _slice_call(call.args[0], normal)


def _slice_call(data, slices):
    if not slices:
        return data
    return relax.op.strided_slice(data, *map(list, zip(*_slice_rows(slices), strict=True)))


def _slice_rows(slices):
    return sorted((axis, *bounds) for axis, bounds in slices.items())


def _slices(call):
    """{axis: (begin, end, stride)}, begin and end within the shape, without whole axes; None for negative strides."""
    slices, extents = {}, shape(call.args[0])
    for axis, begin, end, stride in zip(*_slice_operands(call), strict=True):
        axis %= len(extents)
        if stride < 0:
            return None
        begin, end, _ = slice(begin, end).indices(extents[axis])
        if (begin, end, stride) != (0, extents[axis], 1):
            slices[axis] = (begin, end, stride)
    return slices


def _slice_operands(call):
    axes, begin, end = ([int(value) for value in arg] for arg in call.args[1:4])
    strides = [int(value) for value in call.args[4]] if len(call.args) > 4 else [1] * len(axes)
    return axes, begin, end, strides


_RESHAPES = ("relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten")
_RULES = dict.fromkeys(_RESHAPES, _reshape) | {
    "relax.mean": _mean,
    "relax.max": _max,
    "relax.strided_slice": _strided_slice,
}
