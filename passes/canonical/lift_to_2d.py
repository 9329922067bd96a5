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

    Reshapes in front and behind, which `SinkReshapes` brings together, add and take away the axis. Weights must be
    constant.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _lift)


def _lift(_graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    make = _LIFTED.get(operator_name(value))
    if make is None:
        return None
    batch, channels, width = shape(value.args[0])
    lifted = make(value, relax.op.reshape(value.args[0], (batch, channels, 1, width)))
    return None if lifted is None else {var: relax.op.reshape(lifted, shape(value))}


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
