"""Col2Im and DeformConv: images from and to the columns of a convolution as a matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx

from eq_tvm.importer.converters.call import OnnxCall


def col2im(call: OnnxCall) -> relax.Expr:
    """Col2Im: a transposed convolution that puts each row of the columns at its place in the block."""
    image, block = ([int(n) for n in _constant(call, index)] for index in (1, 2))
    rank, elements = len(block), int(np.prod(block))
    if rank not in _TRANSPOSED:
        raise ValueError(f"its blocks have {rank} axes; 1 to 3 can be compiled")
    strides, dilations, pads = _geometry(call, rank)
    counts, output_padding = [], []
    for axis, extent in enumerate(image):
        room = extent + pads[axis] + pads[rank + axis] - (block[axis] - 1) * dilations[axis] - 1
        counts.append(room // strides[axis] + 1)
        output_padding.append(room % strides[axis])
    batch, rows = call.shape(0)[:2]
    channels = rows // elements
    places = np.tile(np.eye(elements, dtype=call.dtype(0)).reshape(elements, 1, *block), (channels, 1, *[1] * rank))
    operator, layouts = _TRANSPOSED[rank]
    return operator(
        call.builder.emit(relax.op.reshape(call.operand(0), (batch, rows, *counts))),
        relax.const(places),
        strides=strides,
        padding=pads,
        output_padding=output_padding,
        dilation=dilations,
        groups=channels,
        **layouts,
    )


def deformable_convolution(call: OnnxCall) -> relax.Expr:
    """DeformConv of two axes: columns by bilinear sampling, then a matrix product for each group."""
    shape, weight_shape = call.shape(0), call.shape(1)
    if len(shape) != 4:
        raise ValueError(f"it convolves {len(shape) - 2} axes; 2 can be compiled")
    groups = call.attributes.get("group", 1)
    batch, channels = shape[:2]
    filters, results = weight_shape[0], call.shape(2)[2:]
    operands = [call.operand(0), call.operand(2), *([call.operand(4)] if call.operand(4) is not None else [])]
    geometry = _geometry(call, 2)
    offset_groups = call.attributes.get("offset_group", 1)
    columns = call.builder.emit_te(
        lambda *tensors: _sampled(tensors, weight_shape[2:], geometry, offset_groups),
        *operands,
        primfunc_name_hint="deformed_columns",
    )
    height = channels // groups * int(np.prod(weight_shape[2:]))
    columns = relax.op.reshape(columns, (batch, groups, height, int(np.prod(results))))
    weights = relax.op.reshape(call.operand(1), (1, groups, filters // groups, height))
    product = call.builder.emit(relax.op.matmul(weights, columns))
    result = call.builder.emit(relax.op.reshape(product, (batch, filters, *results)))
    if call.operand(3) is None:
        return result
    return relax.op.add(result, relax.op.reshape(call.operand(3), (1, filters, 1, 1)))


_TRANSPOSED: dict[int, tuple[Any, dict[str, str]]] = {
    1: (relax.op.nn.conv1d_transpose, {"data_layout": "NCW", "kernel_layout": "IOW"}),
    2: (relax.op.nn.conv2d_transpose, {"data_layout": "NCHW", "kernel_layout": "IOHW"}),
    3: (relax.op.nn.conv3d_transpose, {"data_layout": "NCDHW", "kernel_layout": "IODHW"}),
}


def _constant(call: OnnxCall, index: int) -> np.ndarray:
    value = call.constant(index)
    if value is None:
        raise ValueError(f"it lacks input {index}")
    return value


def _geometry(call: OnnxCall, rank: int) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations and pads."""
    strides, dilations = (list(call.attributes.get(name) or [1] * rank) for name in ("strides", "dilations"))
    return strides, dilations, list(call.attributes.get("pads") or [0] * 2 * rank)


def _sampled(tensors: Any, kernel: Any, geometry: Any, offset_groups: int) -> te.Tensor:
    """(batch, channels, elements of the kernel, height, width)."""
    data, offsets, *masks = tensors
    strides, dilations, pads = geometry
    batch, channels, *_ = (int(n) for n in data.shape)
    height, width = (int(n) for n in kernel)
    elements, per_group = height * width, channels // offset_groups

    def column(n: Any, c: Any, k: Any, y: Any, x: Any) -> Any:
        plane = c // per_group * elements + k
        row = (y * strides[0] - pads[0] + k // width * dilations[0]).astype(data.dtype) + offsets[n, 2 * plane, y, x]
        col = (x * strides[1] - pads[1] + k % width * dilations[1]).astype(data.dtype)
        value = _bilinear(data, n, c, row, col + offsets[n, 2 * plane + 1, y, x])
        return value * masks[0][n, plane, y, x] if masks else value

    return te.compute((batch, channels, elements, *offsets.shape[2:]), column, name="columns")


def _bilinear(data: te.Tensor, n: Any, c: Any, y: Any, x: Any) -> Any:
    """What lies outside is 0."""
    height, width = data.shape[2:]
    top, left = (tirx.floor(position).astype("int32") for position in (y, x))
    down, right = y - top.astype(data.dtype), x - left.astype(data.dtype)

    def pixel(row: Any, col: Any) -> Any:
        inside = tirx.all(row >= 0, row < height, col >= 0, col < width)
        return tirx.if_then_else(inside, data[n, c, row, col], tirx.const(0, data.dtype))

    upper = pixel(top, left) * (1 - right) + pixel(top, left + 1) * right
    lower = pixel(top + 1, left) * (1 - right) + pixel(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
