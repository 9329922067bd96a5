"""The operators of a canonical network in PyTorch, for many images at once: axis 0 is the images'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tvm import relax

from eq_tvm.errors import UserError
from eq_tvm.passes.graph.network import Node
from eq_tvm.passes.graph.resizing import is_bilinear, is_exact, real_weights, sources
from eq_tvm.passes.graph.rewrite import array, ints, operator_name, transposed_axes
from eq_tvm.passes.quantized.float_operators.pooling import pool_padding, window_sizes

Operator = Callable[..., Tensor]


def operator_of(node: Node) -> Operator:
    """What computes a node from its operands, constants included, in the order of the call.

    Raises
    ------
    UserError
        There is no such operator here; names the node.
    """
    made = _OPERATORS.get(operator_name(node.expr) or "")
    if made is None or not node.is_tensor:
        raise untrainable(node, operator_name(node.expr) or type(node.expr).__name__)
    return made(node)


def untrainable(node: Node, what: str) -> UserError:
    """What names a node, and says what to do instead."""
    return UserError(f"node {node.name} ({what}) can't be trained: --method {_WITHOUT} quantizes without training")


def constant_operands(node: Node) -> list[Tensor | None]:
    """The operands of a node's call that are constants; None in the places of the others."""
    operands = node.expr.args[0].fields if isinstance(node.expr.args[0], relax.Tuple) else node.expr.args
    tensors = [arg for arg in operands if isinstance(arg, relax.Var) or array(arg) is not None]
    values = map(array, tensors)
    return [None if value is None else torch.from_numpy(value.copy()) for value in values]


_WITHOUT = "mse+ --refine blocks"


def _conv2d(node: Node) -> Operator:
    attrs = node.expr.attrs
    (strides, padding), dilation = map(ints, (attrs.strides, attrs.padding)), ints(attrs.dilation)
    top, left, bottom, right = padding
    even = padding[:2] == padding[2:]

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x if even else F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, weight, bias, strides, (top, left) if even else 0, dilation, int(attrs.groups))

    return compute


def _matmul(_node: Node) -> Operator:
    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.matmul(x, weight) if bias is None else torch.addmm(bias, x, weight)

    return compute


def _clip(node: Node) -> Operator:
    low, high = (float(arg.value) for arg in node.expr.args[1:])
    return lambda x: x.clamp(low, high)


def _pool(node: Node) -> tuple[Callable[[Tensor, float], Tensor], tuple[tuple[int, ...], ...]]:
    """How to pad, as far as windows reach; their sizes and strides."""
    attrs = node.expr.attrs
    top, left, bottom, right = pool_padding(node, ints(node.expr.args[0].ty.shape)[2:])
    windows = ints(attrs.pool_size), ints(attrs.strides)
    return lambda x, fill: F.pad(x, (left, right, top, bottom), value=fill), windows


def _max_pool2d(node: Node) -> Operator:
    pad, (size, stride) = _pool(node)
    dilation = ints(node.expr.attrs.dilation)
    return lambda x: F.max_pool2d(pad(x, -torch.inf), size, stride, dilation=dilation)


def _avg_pool2d(node: Node) -> Operator:
    pad, (size, stride) = _pool(node)
    if ints(node.expr.attrs.dilation) != (1, 1):
        raise untrainable(node, "an average of dilated windows")
    counts = torch.from_numpy(window_sizes(node.expr.attrs, ints(node.expr.args[0].ty.shape)[2:], node.shape[2:]))
    return lambda x: F.avg_pool2d(pad(x, 0.0), size, stride, divisor_override=1) / counts.float()


def _max_pool3d(node: Node) -> Operator:
    attrs, extents = node.expr.attrs, ints(node.expr.args[0].ty.shape)[2:]
    before, size, stride, dilation = (
        ints(each) for each in (attrs.padding[:3], attrs.pool_size, attrs.strides, attrs.dilation)
    )
    reached = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(node.shape[2:], stride, size, dilation, strict=True)]
    after = [max(0, r - b - n) for r, b, n in zip(reached, before, extents, strict=True)]
    widths = [each for pair in zip(before[::-1], after[::-1], strict=True) for each in pair]
    return lambda x: F.max_pool3d(F.pad(x, widths, value=-torch.inf), size, stride, dilation=dilation)


def _reduction(function: Callable[..., Tensor]) -> Callable[[Node], Operator]:
    """Over axes; without any named over all but that of images."""

    def make(node: Node) -> Operator:
        attrs, rank = node.expr.attrs, len(ints(node.expr.args[0].ty.shape))
        axes = tuple(range(1, rank)) if attrs.axis is None else ints(attrs.axis)
        return lambda x: function(x, dim=axes, keepdim=bool(attrs.keepdims))

    return make


def _strided_slice(node: Node) -> Operator:
    axes, begin, end, *strides = ([int(v.value) for v in field.fields] for field in node.expr.args[1:])
    index = [slice(None)] * len(node.shape)
    backwards = {}
    for i, axis in enumerate(axes):
        step = strides[0][i] if strides else 1
        if step > 0:
            index[axis] = slice(begin[i], end[i], step)
        else:
            places = np.arange(ints(node.expr.args[0].ty.shape)[axis])
            backwards[axis] = torch.from_numpy(places[begin[i] : None if end[i] < 0 else end[i] : step].copy())

    def compute(x: Tensor) -> Tensor:
        for axis, places in backwards.items():
            x = x.index_select(axis, places)
        return x[tuple(index)]

    return compute


def _take(node: Node) -> Operator:
    """Of constants along axis 0 as an embedding; of images constant places along another one."""
    axis = int(node.expr.attrs.axis or 0)

    def compute(x: Tensor, places: Tensor) -> Tensor:
        if axis == 0:
            return x[places.long()]
        around = axis % x.ndim
        places = places.long() % x.shape[around]
        return x.index_select(around, places.reshape(-1)).reshape(
            *x.shape[:around], *places.shape, *x.shape[around + 1 :]
        )

    return compute


def _resize(node: Node) -> Operator:
    if not is_exact(node.expr):
        raise untrainable(node, f"resizing by {node.expr.attrs.method}")
    if not is_bilinear(node.expr):
        rows, columns = map(torch.from_numpy, sources(node.expr))
        return lambda x: x.index_select(2, rows).index_select(3, columns)
    places, parts = real_weights(node.expr)
    (up, down), (left, right) = (map(torch.from_numpy, np.ascontiguousarray(each.T)) for each in places)
    across, along = torch.from_numpy(parts[0])[:, None], torch.from_numpy(parts[1])

    def compute(x: Tensor) -> Tensor:
        x = torch.lerp(x.index_select(2, up), x.index_select(2, down), across)
        return torch.lerp(x.index_select(3, left), x.index_select(3, right), along)

    return compute


def _pad(node: Node) -> Operator:
    widths = ints(node.expr.attrs.pad_width)
    backwards = [w for pair in zip(widths[-2::-2], widths[::-2], strict=True) for w in pair]
    return lambda x: F.pad(x, backwards)


def _astype(node: Node) -> Operator:
    dtype = getattr(torch, str(node.expr.ty.dtype))
    return lambda x: x.to(dtype)


def _softmax(node: Node) -> Operator:
    return lambda x: torch.softmax(x, int(node.expr.attrs.axis))


def _layer_norm(node: Node) -> Operator:
    sizes = tuple(node.shape[int(axis)] for axis in node.expr.attrs.axes)
    return lambda x, gamma, beta: F.layer_norm(x, sizes, gamma, beta, float(node.expr.attrs.epsilon))


def _rms_norm(node: Node) -> Operator:
    sizes = tuple(node.shape[int(axis)] for axis in node.expr.attrs.axes)
    return lambda x, gamma: F.rms_norm(x, sizes, gamma, float(node.expr.attrs.epsilon))


def _prelu(node: Node) -> Operator:
    axis, rank = int(node.expr.attrs.axis), len(node.shape)

    def compute(x: Tensor, slope: Tensor) -> Tensor:
        return torch.where(x < 0, x * slope.reshape([-1 if i == axis else 1 for i in range(rank)]), x)

    return compute


def _plain(function: Operator) -> Callable[[Node], Operator]:
    return lambda _node: function


_OPERATORS: dict[str, Callable[[Node], Any]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.matmul": _matmul,
    "relax.nn.relu": _plain(torch.relu),
    "relax.clip": _clip,
    "relax.nn.max_pool2d": _max_pool2d,
    "relax.nn.avg_pool2d": _avg_pool2d,
    "relax.nn.max_pool3d": _max_pool3d,
    "relax.image.resize2d": _resize,
    "relax.mean": _reduction(torch.mean),
    "relax.sum": _reduction(torch.sum),
    "relax.max": _reduction(torch.amax),
    "relax.min": _reduction(torch.amin),
    "relax.astype": _astype,
    "relax.strided_slice": _strided_slice,
    "relax.nn.pad": _pad,
    "relax.concat": lambda node: lambda *parts: torch.cat(parts, int(node.expr.attrs.axis)),
    "relax.broadcast_to": lambda node: lambda x: x.expand(-1 if x.ndim == len(node.shape) else 1, *node.shape[1:]),
    "relax.take": _take,
    "relax.where": _plain(torch.where),
    "relax.permute_dims": lambda node: lambda x: x.permute(transposed_axes(node.expr)),
    "relax.nn.softmax": _softmax,
    "relax.nn.layer_norm": _layer_norm,
    "relax.nn.rms_norm": _rms_norm,
    "relax.nn.prelu": _prelu,
    "relax.nn.leakyrelu": lambda node: lambda x: F.leaky_relu(x, float(node.expr.attrs.alpha)),
    "relax.nn.gelu": _plain(F.gelu),
    "relax.nn.gelu_tanh": _plain(lambda x: F.gelu(x, approximate="tanh")),
    "relax.nn.silu": _plain(F.silu),
    "relax.sigmoid": _plain(torch.sigmoid),
    "relax.tanh": _plain(torch.tanh),
    "relax.exp": _plain(torch.exp),
    "relax.log": _plain(torch.log),
    "relax.sqrt": _plain(torch.sqrt),
    "relax.erf": _plain(torch.erf),
    "relax.square": _plain(torch.square),
    "relax.sin": _plain(torch.sin),
    "relax.cos": _plain(torch.cos),
    "relax.nn.softplus": lambda node: (
        lambda x: F.softplus(x, float(node.expr.attrs.beta), float(node.expr.attrs.threshold))
    ),
    "relax.nn.log_softmax": lambda node: lambda x: torch.log_softmax(x, int(node.expr.attrs.axis)),
    "relax.greater": _plain(torch.gt),
    "relax.greater_equal": _plain(torch.ge),
    "relax.less": _plain(torch.lt),
    "relax.less_equal": _plain(torch.le),
    "relax.equal": _plain(torch.eq),
    "relax.abs": _plain(torch.abs),
    "relax.negative": _plain(torch.neg),
    "relax.add": _plain(torch.add),
    "relax.subtract": _plain(torch.sub),
    "relax.multiply": _plain(torch.mul),
    "relax.divide": _plain(torch.div),
    "relax.power": _plain(torch.pow),
    "relax.maximum": _plain(torch.maximum),
    "relax.minimum": _plain(lambda x, y: torch.clamp(x, max=y)),
}
