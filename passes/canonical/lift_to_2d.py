"""One-dimensional convolutions and poolings as two-dimensional ones over images of one row."""

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, ints, operator_name, rewrite, shape


@relax_pass
class LiftTo2D:
    """Make ``conv1d`` (and its transpose), ``max_pool1d`` and ``avg_pool1d`` of NCW the same of NCHW with H = 1.

    So is a batch norm behind a convolution, which `FoldBatchNorm` finds there with its statistics.
    Reshapes in front and behind, which `SinkReshapes` brings together, add and take away the axis. Weights must be
    constant.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _lift)


def _lift(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if isinstance(value, relax.TupleGetItem):
        return _lift_norm(graph, var, value)
    make = _LIFTED.get(operator_name(value))
    if make is None:
        return None
    batch, channels, width = shape(value.args[0])
    lifted = make(value, relax.op.reshape(value.args[0], (batch, channels, 1, width)))
    return None if lifted is None else {var: relax.op.reshape(lifted, shape(value))}


def _lift_norm(graph: Graph, var: relax.Var, result: relax.TupleGetItem) -> NewValues | None:
    norm = graph.call(result.tuple_value, "relax.nn.batch_norm")
    if norm is None or result.index != 0 or len(shape(norm.args[0])) != 3 or norm.attrs.axis != 1:
        return None
    if (image := _image(graph, norm.args[0])) is None:
        return None
    lifted = relax.TupleGetItem(tvm.ir.Call(norm.op, [image, *norm.args[1:]], norm.attrs), 0)
    return {var: relax.op.reshape(lifted, shape(norm.args[0]))}


def _image(graph: Graph, data: relax.Expr) -> relax.Expr | None:
    """What a convolution that is lifted already computes, with its bias."""
    if (bias := graph.call(data, "relax.add")) is not None:
        image, constant = _image(graph, bias.args[0]), array(bias.args[1])
        if image is None or constant is None or constant.shape != (1, shape(data)[1], 1):
            return None
        return relax.op.add(image, relax.const(constant[..., None], str(constant.dtype)))
    reshape = graph.call(data, "relax.reshape")
    if reshape is None or graph.call(reshape.args[0], "relax.nn.conv2d", "relax.nn.conv2d_transpose") is None:
        return None
    return reshape.args[0]


def _conv(call: relax.Call, data: relax.Expr) -> relax.Call | None:
    weights, attrs = array(call.args[1]), call.attrs
    if weights is None or (attrs.data_layout, attrs.kernel_layout) != ("NCW", "OIW"):
        return None
    return relax.op.nn.conv2d(
        data, relax.const(weights[:, :, None], str(weights.dtype)), **_geometry(attrs), groups=int(attrs.groups)
    )


def _conv_transpose(call: relax.Call, data: relax.Expr) -> relax.Call | None:
    weights, attrs = array(call.args[1]), call.attrs
    if weights is None or (attrs.data_layout, attrs.kernel_layout) != ("NCW", "IOW"):
        return None
    return relax.op.nn.conv2d_transpose(
        data,
        relax.const(weights[:, :, None], str(weights.dtype)),
        **_geometry(attrs),
        output_padding=(0, *ints(attrs.output_padding)),
        groups=int(attrs.groups),
    )


def _pool(make: Callable[..., relax.Call]) -> Callable[[relax.Call, relax.Expr], relax.Call | None]:
    def lifted(call: relax.Call, data: relax.Expr) -> relax.Call | None:
        attrs = call.attrs
        if attrs.layout != "NCW":
            return None
        size, counted = (1, *ints(attrs.pool_size)), bool(attrs.count_include_pad)
        return make(data, size, **_geometry(attrs), ceil_mode=bool(attrs.ceil_mode), count_include_pad=counted)

    return lifted


def _geometry(attrs: Any) -> dict[str, Sequence[int]]:
    before, after = ints(attrs.padding)
    return {
        "strides": (1, *ints(attrs.strides)),
        "padding": (0, before, 0, after),
        "dilation": (1, *ints(attrs.dilation)),
    }


_LIFTED: dict[str | None, Callable[[relax.Call, relax.Expr], relax.Call | None]] = {
    "relax.nn.conv1d": _conv,
    "relax.nn.conv1d_transpose": _conv_transpose,
    "relax.nn.max_pool1d": _pool(relax.op.nn.max_pool2d),
    "relax.nn.avg_pool1d": _pool(relax.op.nn.avg_pool2d),
}
