"""Quantized operators that TVM's importer lacks: scales of blocks, 8-bit floats, and products of quantized matrices."""

from __future__ import annotations

import numpy as np
import onnx
from tvm import relax

from eq_tvm.importer.converters.call import Converter, OnnxCall
from eq_tvm.importer.converters.float8 import FLOAT8, decode, encode


def _dequantized(call: OnnxCall) -> relax.Expr | None:
    """DequantizeLinear by blocks, or of 8-bit floats."""
    source = call.dtype(0)
    if source not in FLOAT8 and not call.attributes.get("block_size", 0):
        return None
    builder, value = call.builder, call.inputs[0]
    scale = _spread(call, call.inputs[1])
    dtype = str(scale.ty.dtype)
    if source in FLOAT8:  # whose zero point is zero
        value = builder.emit(relax.op.astype(decode(builder, value, source), dtype))
    else:
        wide = builder.emit(relax.op.astype(value, "int32"))
        if call.operand(2) is not None:
            zero = builder.emit(relax.op.astype(_spread(call, call.inputs[2]), "int32"))
            wide = builder.emit(relax.op.subtract(wide, zero))
        value = builder.emit(relax.op.astype(wide, dtype))
    return relax.op.multiply(value, scale)


def _quantized(call: OnnxCall) -> relax.Expr | None:
    """QuantizeLinear by blocks, or to 8-bit floats."""
    given = call.attributes.get("output_dtype", 0)
    target = str(onnx.helper.tensor_dtype_to_np_dtype(given)) if given else "uint8"
    target = target if call.operand(2) is None else call.dtype(2)
    if target not in FLOAT8 and not call.attributes.get("block_size", 0):
        return None
    builder = call.builder
    ratio = builder.emit(relax.op.divide(call.inputs[0], _spread(call, call.inputs[1])))
    if target in FLOAT8:
        ratio = builder.emit(relax.op.astype(ratio, "float32"))
        return encode(builder, ratio, target, bool(call.attributes.get("saturate", 1)))
    zero = None if call.operand(2) is None else _spread(call, call.inputs[2])
    return _rounded(builder, ratio, zero, target)


def _product(call: OnnxCall) -> relax.Expr:
    """QLinearMatMul: the product of integers, and one scale for it."""
    builder, target = call.builder, call.dtype(7)
    left, right = (_centered(call, first, column) for first, column in ((0, False), (3, True)))
    product = builder.emit(relax.op.matmul(left, right, "int32"))
    scales = [builder.emit(relax.op.astype(call.inputs[index], "float32")) for index in (1, 4, 6)]
    scales[0] = _as_rows(call, scales[0])
    scale = builder.emit(relax.op.divide(builder.emit(relax.op.multiply(scales[0], scales[1])), scales[2]))
    value = builder.emit(relax.op.multiply(builder.emit(relax.op.astype(product, "float32")), scale))
    return _rounded(builder, value, call.inputs[7], target)


QUANTIZATION: dict[str, Converter] = {
    "DequantizeLinear": _dequantized,
    "QLinearMatMul": _product,
    "QuantizeLinear": _quantized,
}


def _spread(call: OnnxCall, value: relax.Expr) -> relax.Expr:
    """A scale or zero point for each element along the axis."""
    rank, extents = len(call.shape(0)), [int(extent) for extent in value.ty.shape]
    axis = call.attributes.get("axis", 1) % max(rank, 1)
    block = call.attributes.get("block_size", 0)
    if block:
        spread = call.builder.emit(relax.op.repeat(value, block, axis))
        return call.builder.emit(relax.op.strided_slice(spread, [axis], [0], [call.shape(0)[axis]]))
    if np.prod(extents) == 1:
        return call.builder.emit(relax.op.reshape(value, ()))
    return call.builder.emit(relax.op.reshape(value, [-1 if i == axis else 1 for i in range(rank)]))


def _rounded(builder: relax.BlockBuilder, value: relax.Expr, zero: relax.Expr | None, target: str) -> relax.Expr:
    value = builder.emit(relax.op.round(value))
    if zero is not None:
        value = builder.emit(relax.op.add(value, builder.emit(relax.op.astype(zero, str(value.ty.dtype)))))
    bounds = np.iinfo(target)
    return relax.op.astype(builder.emit(relax.op.clip(value, int(bounds.min), int(bounds.max))), target)


def _centered(call: OnnxCall, index: int, is_right: bool) -> relax.Expr:
    builder = call.builder
    value = builder.emit(relax.op.astype(call.inputs[index], "int32"))
    zero = builder.emit(relax.op.astype(call.inputs[index + 2], "int32"))
    return builder.emit(relax.op.subtract(value, zero if is_right else _as_rows(call, zero)))


def _as_rows(call: OnnxCall, value: relax.Expr) -> relax.Expr:
    """Of the left matrix, one for each row."""
    shape = [int(extent) for extent in value.ty.shape]
    return call.builder.emit(relax.op.expand_dims(value, -1)) if len(shape) == 1 and shape != [1] else value
