"""Three-dimensional convolutions as two-dimensional ones, over images that hold what a kernel reads of the depth."""

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import relax

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, ints, operator_name, rewrite, shape

_IMAGES_FIRST = (0, 2, 1, 3, 4)  # NCDHW to NDCHW, and back


@relax_pass
class FlattenDepth:
    """Make ``conv3d`` of NCDHW with constant weights a ``conv2d`` of NCHW.

    Each place along the depth of the result is an image of the batch; its channels are those of the slices that the
    kernel's taps along the depth read there. Where the result has no depth, nothing is copied for that.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _flatten)


def _flatten(_graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) != "relax.nn.conv3d":
        return None
    weights, attrs = array(value.args[1]), value.attrs
    if weights is None or (attrs.data_layout, attrs.kernel_layout) != ("NCDHW", "OIDHW"):
        return None
    front, top, left, back, bottom, right = ints(attrs.padding)
    data = value.args[0]
    if front or back:
        data = relax.op.nn.pad(data, [0] * 4 + [front, back] + [0] * 4)
    images, kernels = (_one_image if shape(value)[2] == 1 else _images)(value, data, weights)
    result = relax.op.nn.conv2d(
        images,
        relax.const(np.ascontiguousarray(kernels), str(weights.dtype)),
        strides=ints(attrs.strides)[1:],
        padding=(top, left, bottom, right),
        dilation=ints(attrs.dilation)[1:],
        groups=int(attrs.groups),
    )
    batch, filters, depth, *image = shape(value)
    return {var: _images_last(result, (batch, depth, filters, *image))}


def _one_image(call: relax.Call, data: relax.Expr, weights: np.ndarray) -> tuple[relax.Expr, np.ndarray]:
    """What the taps read, and weights, for a result of depth 1: (N, C * taps, H, W) and (O, C / groups * taps, ...)."""
    batch, channels, _, *image = shape(call.args[0])
    filters, inputs, taps, *kernel = weights.shape
    read = _depth_slice(data, 2, 0, ints(call.attrs.dilation)[0], taps)
    images = relax.op.reshape(read, (batch, channels * taps, *image))
    return images, weights.reshape(filters, inputs * taps, *kernel)


def _images(call: relax.Call, data: relax.Expr, weights: np.ndarray) -> tuple[relax.Expr, np.ndarray]:
    """The same for each place of the depth: (N * depth, groups * taps * C / groups, H, W)."""
    (batch, channels, _, *image), depth, groups = shape(call.args[0]), shape(call)[2], int(call.attrs.groups)
    filters, inputs, taps, *kernel = weights.shape
    stride, dilation = ints(call.attrs.strides)[0], ints(call.attrs.dilation)[0]
    data = relax.op.permute_dims(data, _IMAGES_FIRST)
    parts = (batch * depth, channels, *image) if groups == 1 else (batch * depth, groups, channels // groups, *image)
    read = [relax.op.reshape(_depth_slice(data, 1, tap * dilation, stride, depth), parts) for tap in range(taps)]
    images = read[0] if taps == 1 else relax.op.concat(read, axis=len(parts) - 3)
    if groups > 1:
        images = relax.op.reshape(images, (batch * depth, channels * taps, *image))
    return images, weights.swapaxes(1, 2).reshape(filters, inputs * taps, *kernel)


def _depth_slice(data: relax.Expr, axis: int, begin: int, stride: int, count: int) -> relax.Expr:
    return relax.op.strided_slice(data, [axis], [begin], [begin + stride * (count - 1) + 1], [stride])


def _images_last(images: relax.Expr, extents: Sequence[int]) -> relax.Expr:
    """(N, D, C, H, W) as (N, C, D, H, W)."""
    batch, depth, channels, *image = extents
    if depth == 1:
        return relax.op.reshape(images, (batch, channels, 1, *image))
    return relax.op.permute_dims(relax.op.reshape(images, tuple(extents)), _IMAGES_FIRST)
