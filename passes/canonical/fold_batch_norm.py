"""Fold batch norms and other per-channel scales and shifts into the convolution or dense layer before them."""

from typing import NamedTuple

import numpy as np
import tvm
from tvm import relax

from ..graph.rewrite import array, operator_name, rewrite, shape


@tvm.transform.module_pass(opt_level=0, name="FoldBatchNorm")
class FoldBatchNorm:
    """Make a convolution or dense layer ``add(conv2d(x, W), B)``, with each scale and shift of its channels in W or B.

    Behind a ``conv2d`` or ``matmul`` with constant weights whose output nothing else uses, ``batch_norm`` and
    ``multiply``, ``divide``, ``add``, ``subtract`` by a constant per channel are folded, in float64. The bias gets the
    shape (1, C, 1, 1), or (N,) behind a matmul. A ``batch_norm`` elsewhere becomes ``multiply`` and ``add``; the rest
    stays as it is. A scalar that multiplies the input of a matmul (alpha of ONNX's Gemm) goes into its weights.

    Raises
    ------
    ValueError
        Where a batch norm's variance is negative, or folding gives weights that are not finite; names the layer.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, _fold)


class _Affine(NamedTuple):
    """``scale * data + shift`` per channel: float64 (C,)."""

    data: relax.Expr
    scale: np.ndarray
    shift: np.ndarray


def _fold(graph, var, value):
    if operator_name(value) == "relax.matmul":
        return _fold_input_scale(graph, var, value)
    affine = _affine(graph, var, value)
    if affine is None:
        return None
    data, scale, shift = affine
    is_batch_norm = isinstance(value, relax.TupleGetItem)
    add = graph.sole_call(data, "relax.add")
    bias = _per_channel(add.args[1], add) if add is not None else None
    layer = data if bias is None else add.args[0]
    conv = graph.sole_call(layer, "relax.nn.conv2d", "relax.matmul")
    if conv is None and bias is None and not is_batch_norm and np.all(scale == 1):
        conv = graph.call(layer, "relax.nn.conv2d", "relax.matmul")  # a bias alone does not change the layer for others
    weights = _weights(conv)
    if weights is None:
        return {var: _multiply_add(data, scale, shift)} if is_batch_norm else None
    axis = _CHANNEL_AXIS[operator_name(conv)]
    bias = shift if bias is None else bias * scale + shift
    weights = weights * np.expand_dims(scale, [i for i in range(weights.ndim) if i != axis])
    bias = _constant(bias, len(shape(conv)), dense=axis == 1)
    weights = _float32(weights)
    if not (np.isfinite(array(weights)).all() and np.isfinite(array(bias)).all()):
        raise ValueError(f"layer '{layer.name}': its weights times the scale behind it ('{var.name}') are not finite")
    if operator_name(value) == "relax.add" and value.args[0].same_as(layer) and shape(value.args[1]) == shape(bias):
        return None
    folded = {var: relax.op.add(layer, bias)}
    if not np.all(scale == 1):
        folded[layer] = tvm.ir.Call(conv.op, [conv.args[0], weights], conv.attrs)
    return folded


_CHANNEL_AXIS = {"relax.nn.conv2d": 0, "relax.matmul": 1}  # of the output channels, in the weights


def _weights(conv):
    """Weights as float64, if they are constant and in the canonical layout (OIHW, or (K, N) behind data of rank 2)."""
    if conv is None or (weights := array(conv.args[1])) is None or weights.dtype != np.float32:
        return None
    if operator_name(conv) == "relax.matmul":
        return weights.astype("float64") if weights.ndim == 2 and len(shape(conv)) == 2 else None
    return weights.astype("float64") if (conv.attrs.data_layout, conv.attrs.kernel_layout) == ("NCHW", "OIHW") else None


def _affine(graph, var, value):
    """What ``value`` does, if that is to scale and shift the channels of a tensor; None otherwise."""
    if isinstance(value, relax.TupleGetItem):
        norm = graph.call(value.tuple_value, "relax.nn.batch_norm")
        return _batch_norm(norm, var) if norm is not None and value.index == 0 else None
    name = operator_name(value)
    if name not in ("relax.add", "relax.subtract", "relax.multiply", "relax.divide"):
        return None
    data, operand = value.args
    if array(data) is not None and name in ("relax.add", "relax.multiply"):
        data, operand = operand, data
    constant = _per_channel(operand, value)
    if constant is None or shape(data) != shape(value):
        return None
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    return {
        "relax.add": lambda: _Affine(data, one, constant),
        "relax.subtract": lambda: _Affine(data, one, -constant),
        "relax.multiply": lambda: _Affine(data, constant, zero),
        "relax.divide": lambda: _Affine(data, one / constant, zero) if constant.all() else None,
    }[name]()


def _batch_norm(norm, var):
    parameters = [array(arg) for arg in norm.args[1:5]]
    if norm.attrs.training or norm.attrs.axis != 1 or any(parameter is None for parameter in parameters):
        return None
    gamma, beta, mean, variance = (parameter.astype("float64") for parameter in parameters)
    variance += norm.attrs.epsilon
    if not (variance > 0).all():
        raise ValueError(f"batch norm '{var.name}': variance + epsilon is not positive")
    scale = (gamma if norm.attrs.scale else 1.0) / np.sqrt(variance)
    return _Affine(norm.args[0], scale, (beta if norm.attrs.center else 0.0) - mean * scale)


def _per_channel(operand, call):
    """The constant ``operand`` of an elementwise ``call`` as float64 (C,) if it varies along axis 1 only; else None."""
    constant, extents = array(operand), shape(call)
    if constant is None or constant.dtype != np.float32 or len(extents) < 2 or constant.ndim > len(extents):
        return None
    constant = constant.astype("float64").reshape((1,) * (len(extents) - constant.ndim) + constant.shape)
    if constant.size != constant.shape[1]:
        return None
    return np.broadcast_to(constant.reshape(-1), (extents[1],)).copy()


def _constant(values, rank, *, dense):
    return _float32(values.reshape(-1 if dense else (1, -1) + (1,) * (rank - 2)))


def _float32(values):
    with np.errstate(over="ignore"):
        return relax.const(values.astype("float32"))


def _multiply_add(data, scale, shift):
    rank = len(shape(data))
    scaled = relax.op.multiply(data, _constant(scale, rank, dense=False))
    return relax.op.add(scaled, _constant(shift, rank, dense=False))


def _fold_input_scale(graph, var, matmul):
    weights = _weights(matmul)
    multiply = graph.call(matmul.args[0], "relax.multiply") if weights is not None else None
    factor = array(multiply.args[1]) if multiply is not None else None
    if factor is None or factor.size != 1:
        return None
    return {var: relax.op.matmul(multiply.args[0], _float32(weights * factor.item()))}
