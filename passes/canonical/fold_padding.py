"""Move padding into the convolution or pooling behind it."""

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite


@relax_pass
class FoldPadding:
    """Add the widths of a spatial ``nn.pad`` with zeros to the padding of the ``conv2d`` (or ``avg_pool2d``) behind it.

    An average pool takes it only where it counts what is padded, or pads nothing itself, and rounds its size down;
    otherwise the padded zeros would not be part of the mean. A ``max_pool2d`` takes padding with the lowest number,
    minus infinity, or zeros beside what is never negative, if no window consists of it alone.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _fold)


def _fold(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    rebuild = _REBUILD.get(operator_name(value))
    pad = graph.call(value.args[0], "relax.nn.pad") if rebuild else None
    if rebuild is None or pad is None or pad.attrs.pad_mode != "constant":
        return None
    filled = float(pad.attrs.pad_value)
    never_larger = filled <= np.finfo("float32").min or (filled == 0 and _never_negative(graph, pad.args[0]))
    if filled != 0 if rebuild is not _max_pool2d else not never_larger:
        return None
    *others, top, bottom, left, right = (int(width) for width in pad.attrs.pad_width)
    if any(others) or min(top, bottom, left, right) < 0:
        return None
    widths = (top, left, bottom, right)
    padding = [int(own) + width for own, width in zip(value.attrs.padding, widths, strict=True)]
    folded = rebuild(value, pad.args[0], padding)
    return {var: folded} if folded is not None else None


def _never_negative(graph: Graph, expr: relax.Expr) -> bool:
    while (pooled := graph.call(expr, "relax.nn.max_pool2d", "relax.nn.avg_pool2d")) is not None:
        expr = pooled.args[0]
    if (clip := graph.call(expr, "relax.clip")) is not None:
        return float(clip.args[1].value) >= 0
    return graph.call(expr, "relax.nn.relu", "relax.sigmoid") is not None


def _conv2d(conv: relax.Call, data: relax.Expr, padding: list[int]) -> relax.Expr | None:
    attrs = conv.attrs
    if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "OIHW") or array(conv.args[1]) is None:
        return None
    return relax.op.nn.conv2d(data, conv.args[1], attrs.strides, padding, attrs.dilation, attrs.groups)


def _avg_pool2d(pool: relax.Call, data: relax.Expr, padding: list[int]) -> relax.Expr | None:
    attrs = pool.attrs
    if attrs.layout != "NCHW" or attrs.ceil_mode or (any(map(int, attrs.padding)) and not attrs.count_include_pad):
        return None
    return relax.op.nn.avg_pool2d(data, attrs.pool_size, attrs.strides, padding, attrs.dilation, count_include_pad=True)


def _max_pool2d(pool: relax.Call, data: relax.Expr, padding: list[int]) -> relax.Expr | None:
    attrs = pool.attrs
    reach = [(int(size) - 1) * int(step) + 1 for size, step in zip(attrs.pool_size, attrs.dilation, strict=True)]
    if attrs.layout != "NCHW" or any(width >= own for width, own in zip(padding, [*reach, *reach], strict=True)):
        return None
    return relax.op.nn.max_pool2d(data, attrs.pool_size, attrs.strides, padding, attrs.dilation, attrs.ceil_mode)


_REBUILD: dict[str | None, Callable[[relax.Call, relax.Expr, list[int]], relax.Expr | None]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.nn.avg_pool2d": _avg_pool2d,
    "relax.nn.max_pool2d": _max_pool2d,
}
