"""The lowering rules of operators that move or select elements."""

from dataclasses import replace

from tvm import relax

from ...graph.resizing import is_bilinear, is_exact, real_weights, sources, weight_bits, weights
from ...graph.rewrite import shape, transposed_axes
from ..lowered_values import NHWC_OF_NCHW, Activation, Joined, MatrixProduct, Tensor
from ..lowering import NCHW_OF_NHWC, Lowering
from ..rearranged import Rearranged

FEW_CHANNELS = 8  # below which resizing float images goes without vectors in any layout


def concat(low: Lowering, call: relax.Call) -> Tensor | Joined | None:
    """`concat`, of values that are quantized or not."""
    values = [low.value(field) for field in low.fields(call.args[0]) or [call.args[0]]]
    parts = tuple(value for value in values if isinstance(value, Activation))
    if len(parts) < len(values) or any(isinstance(part, MatrixProduct) for part in parts):
        return None
    axis = int(call.attrs.axis) % call.ty.ndim
    tensors = [part for part in parts if isinstance(part, Tensor)]
    alike = len(tensors) == len(parts) and len({tensor.scale for tensor in tensors}) == 1
    return low.emit.join(tensors, axis) if alike else Joined(parts, axis)


def reshape(low: Lowering, call: relax.Call) -> Rearranged | None:
    """`reshape`: pending."""
    source = low.view(call.args[0])
    if source is None:
        return None
    found = source.reshaped(shape(call))
    if found is not None:
        return found
    whole = low.layout(low.moved(source), False)
    return Rearranged.of(replace(whole, expr=low.kernels.reshape(whole.expr, shape(call))))


def permute_dims(low: Lowering, call: relax.Call) -> Rearranged | None:
    """`permute_dims`: pending."""
    source = low.view(call.args[0])
    if source is None:
        return None
    axes = transposed_axes(call)
    if axes == NCHW_OF_NHWC and source == Rearranged.of(source.source):
        stored = low.stored_plainly(source.source)
        if stored is not None:
            return Rearranged.of(replace(stored, nhwc=True))
    return source.permuted(axes)


def strided_slice(low: Lowering, call: relax.Call) -> Tensor | None:
    """`strided_slice`."""
    source = low.tensor(call.args[0])
    if source is None:
        return None
    axes, begin, end, *given = ([int(v.value) for v in arg.fields] for arg in call.args[1:5])
    strides = given[0] if given else [1] * len(axes)
    if source.nhwc:
        axes = [NHWC_OF_NCHW.index(axis % 4) for axis in axes]
    expr = relax.op.strided_slice(source.expr, axes, begin, end, strides, assume_inbound=False)
    return replace(source, expr=low.builder.emit(expr))


def pad(low: Lowering, call: relax.Call) -> Tensor | None:
    """`nn.pad` with zeros."""
    source = low.tensor(call.args[0])
    if source is None or str(call.attrs.pad_mode) != "constant" or float(call.attrs.pad_value) != 0.0:
        return None
    width = [int(v) for v in call.attrs.pad_width]
    if source.nhwc:
        width = [width[2 * axis + side] for axis in NHWC_OF_NCHW for side in (0, 1)]
    padded = relax.op.nn.pad(source.expr, width, pad_value=source.zero)
    return replace(source, expr=low.builder.emit(padded), low=min(source.low, 0), high=max(source.high, 0))


def resize2d(low: Lowering, call: relax.Call) -> Tensor | None:
    """`image.resize2d`, nearest or bilinear."""
    source = low.tensor(call.args[0])
    if source is None or not (source.quantized or _is_image_of_many(source)) or not is_exact(call):
        return None
    if not is_bilinear(call) and not source.quantized and not source.nhwc:
        return replace(source, expr=low.kernels.resize_rows(source, *sources(call)))
    source = low.layout(source, True)
    if not is_bilinear(call):
        rows, columns = sources(call)
        return replace(source, expr=low.kernels.resize(source, rows, columns))
    if source.quantized:
        bits = weight_bits(source.limit)
        rows, columns = weights(call, bits)
        return replace(source, expr=low.kernels.resize(source, rows, columns, bits))
    return replace(source, expr=low.kernels.interpolate(source, *real_weights(call)))


def _is_image_of_many(source: Tensor) -> bool:
    """Whether it is one of floats that has so many channels that they make vectors."""
    return source.dtype == "float32" and (source.nhwc or source.shape[1] >= FEW_CHANNELS)
