"""Fold batch norms and other per-channel scales and shifts into the convolution or dense layer before them."""

from functools import partial
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relax

from ..graph.notes import note, with_note
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape


@relax_pass
class FoldBatchNorm:
    """Make a convolution or dense layer ``add(conv2d(x, W), B)``, with each scale and shift of its channels in W or B.

    Behind a ``conv2d`` or ``matmul`` with constant weights whose output nothing else uses, ``batch_norm`` and
    ``multiply``, ``divide``, ``add``, ``subtract`` by a constant per channel are folded, in float64. The bias gets the
    shape (1, C, 1, 1), or (N,) behind a matmul. A ``batch_norm`` elsewhere becomes ``multiply`` and ``add``; the rest
    stays as it is. A scalar that multiplies the input of a matmul (alpha of ONNX's Gemm) goes into its weights, and so
    do factors of the input's columns, with what is added behind them, where no layer is in front of them.

    Raises
    ------
    ValueError
        Where a batch norm's variance is negative, or folding gives weights that are not finite; names the layer.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        statistics = batch_statistics(mod)
        mod = rewrite(mod, partial(_fold, statistics))
        return _with_statistics(mod, statistics) if statistics else mod


class Statistics(NamedTuple):
    """Mean and deviation of a tensor's channels over all training images, each float32 (C,)."""

    mean: np.ndarray
    deviation: np.ndarray


def batch_statistics(mod: tvm.IRModule) -> dict[str, Statistics]:
    """What folded batch norms said of their results, by the names of the variables that these have in the module.

    A batch norm makes channels of mean beta and deviation gamma (times sqrt(v / (v + epsilon)) for a variance v), in
    front of an activation or of a layer; a scale or shift behind it is in the numbers.
    """
    return {
        name: Statistics(*(np.array(numbers, np.float32) for numbers in found))
        for name, found in note(mod, _NOTE).items()
    }


def _with_statistics(mod: tvm.IRModule, statistics: dict[str, Statistics]) -> tvm.IRModule:
    names = {var.name for var in Graph(mod).values}
    left = {name: [x.tolist() for x in found] for name, found in statistics.items() if name in names}
    return with_note(mod, _NOTE, left)


_NOTE = "batch_statistics"


class _Affine(NamedTuple):
    """``scale * data + shift`` per channel: float64 (C,)."""

    data: relax.Expr
    scale: np.ndarray
    shift: np.ndarray


def _fold(statistics: dict[str, Statistics], graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    if operator_name(value) == "relax.matmul":
        return _fold_input_scale(graph, var, value) or _fold_input(graph, var, value)
    affine = _affine(graph, var, value)
    if affine is None:
        return None
    data, scale, shift = affine
    known = statistics.get(data.name) if isinstance(data, relax.Var) else None
    if (found := _statistics_of(graph, value) or _moved(known, scale, shift)) is not None:
        statistics[var.name] = found
    is_batch_norm = isinstance(value, relax.TupleGetItem)
    layer, bias = _layer_and_bias(graph, data)
    conv = graph.sole_call(layer, "relax.nn.conv2d", "relax.matmul")
    if conv is None and bias is None and not is_batch_norm and np.all(scale == 1):
        conv = graph.call(layer, "relax.nn.conv2d", "relax.matmul")  # a bias alone does not change the layer for others
    weights = None if conv is None else _weights(conv)
    if conv is None or weights is None:
        return {var: _multiply_add(data, scale, shift)} if is_batch_norm else None
    axis = _CHANNEL_AXIS[conv.op.name]
    bias = shift if bias is None else bias * scale + shift
    bias = _per_channel_float32(bias, len(shape(conv)), dense=axis == 1)
    weights = _float32(weights * np.expand_dims(scale, [i for i in range(weights.ndim) if i != axis]))
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ValueError(f"layer '{layer.name}': its weights times the scale behind it ('{var.name}') are not finite")
    if operator_name(value) == "relax.add" and value.args[0].same_as(layer) and shape(value.args[1]) == bias.shape:
        return None
    folded = {var: relax.op.add(layer, relax.const(bias))}
    if not np.all(scale == 1):
        folded[layer] = tvm.ir.Call(conv.op, [conv.args[0], relax.const(weights)], conv.attrs)
    return folded


_CHANNEL_AXIS = {"relax.nn.conv2d": 0, "relax.matmul": 1}  # of the output channels, in the weights


def _layer_and_bias(graph: Graph, data: relax.Expr) -> tuple[relax.Expr, np.ndarray | None]:
    """``layer`` and float64 (C,) of an ``add(layer, bias)`` that nothing else uses; anything else has no bias."""
    add = graph.sole_call(data, "relax.add")
    bias = None if add is None else _per_channel(add.args[1], add)
    return (data, None) if add is None or bias is None else (add.args[0], bias)


def _weights(conv: relax.Call) -> np.ndarray | None:
    """Weights as float64, if they are constant and in the canonical layout (OIHW, or (K, N) behind data of rank 2)."""
    if (weights := array(conv.args[1])) is None or weights.dtype != np.float32:
        return None
    if operator_name(conv) == "relax.matmul":
        return weights.astype("float64") if weights.ndim == 2 and len(shape(conv)) == 2 else None
    return weights.astype("float64") if (conv.attrs.data_layout, conv.attrs.kernel_layout) == ("NCHW", "OIHW") else None


def _affine(graph: Graph, var: relax.Var, value: relax.Expr | None) -> _Affine | None:
    """What ``value`` does, if that is to scale and shift the channels of a tensor; None otherwise."""
    if isinstance(value, relax.TupleGetItem):
        norm = graph.call(value.tuple_value, "relax.nn.batch_norm")
        return _batch_norm(norm, var) if norm is not None and value.index == 0 else None
    name = operator_name(value)
    if value is None or name not in ("relax.add", "relax.subtract", "relax.multiply", "relax.divide"):
        return None
    data, operand = value.args
    if array(data) is not None and name in ("relax.add", "relax.multiply"):
        data, operand = operand, data
    constant = _per_channel(operand, value)
    if constant is None or shape(data) != shape(value) or not np.isfinite(constant).all():
        return None
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if name == "relax.divide":
        return _Affine(data, one / constant, zero) if constant.all() else None
    scale, shift = {
        "relax.add": (one, constant),
        "relax.subtract": (one, -constant),
        "relax.multiply": (constant, zero),
    }[name]
    return _Affine(data, scale, shift)


def _batch_norm(norm: relax.Call, var: relax.Var) -> _Affine | None:
    parameters = _parameters(norm)
    if norm.attrs.training or norm.attrs.axis != 1 or parameters is None:
        return None
    gamma, beta, mean, variance = parameters
    variance = variance + norm.attrs.epsilon
    if not (variance > 0).all():
        raise ValueError(f"batch norm '{var.name}': variance + epsilon is not positive")
    scale = gamma / np.sqrt(variance)
    return _Affine(norm.args[0], scale, beta - mean * scale)


def _parameters(norm: relax.Call) -> list[np.ndarray] | None:
    """Gamma, beta, mean and variance, each float64 (C,), of those batch norms of which all are constant."""
    parameters = [value.astype("float64") for arg in norm.args[1:5] if (value := array(arg)) is not None]
    if len(parameters) < 4:
        return None
    gamma, beta, mean, variance = parameters
    gamma = gamma if norm.attrs.scale else np.ones_like(gamma)
    return [gamma, beta if norm.attrs.center else np.zeros_like(beta), mean, variance]


def _statistics_of(graph: Graph, value: relax.Expr) -> Statistics | None:
    """Of a batch norm's result."""
    norm = graph.call(value.tuple_value, "relax.nn.batch_norm") if isinstance(value, relax.TupleGetItem) else None
    parameters = None if norm is None else _parameters(norm)
    if norm is None or parameters is None:
        return None
    gamma, beta, _, variance = parameters
    of_result = variance / np.maximum(variance + norm.attrs.epsilon, np.finfo(np.float64).tiny)
    deviation = np.abs(gamma) * np.sqrt(np.maximum(of_result, 0))
    return Statistics(_float32(beta), _float32(deviation))


def _moved(statistics: Statistics | None, scale: np.ndarray, shift: np.ndarray) -> Statistics | None:
    """Behind a scale and shift."""
    if statistics is None:
        return None
    return Statistics(_float32(statistics.mean * scale + shift), _float32(statistics.deviation * np.abs(scale)))


def _per_channel(operand: relax.Expr, call: relax.Call) -> np.ndarray | None:
    """The constant ``operand`` of an elementwise ``call`` as float64 (C,) if it varies along axis 1 only; else None."""
    constant, extents = array(operand), shape(call)
    if constant is None or constant.dtype != np.float32 or len(extents) < 2 or constant.ndim > len(extents):
        return None
    constant = constant.astype("float64").reshape((1,) * (len(extents) - constant.ndim) + constant.shape)
    if constant.size != constant.shape[1]:
        return None
    return np.broadcast_to(constant.reshape(-1), (extents[1],)).copy()


def _per_channel_float32(values: np.ndarray, rank: int, *, dense: bool) -> np.ndarray:
    """(1, C, 1, 1) of that rank, or (C,) for a dense layer."""
    return _float32(values.reshape(-1 if dense else (1, -1) + (1,) * (rank - 2)))


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype("float32")


def _multiply_add(data: relax.Expr, scale: np.ndarray, shift: np.ndarray) -> relax.Expr:
    scale, shift = (_per_channel_float32(values, len(shape(data)), dense=False) for values in (scale, shift))
    return relax.op.add(relax.op.multiply(data, relax.const(scale)), relax.const(shift))


def _fold_input_scale(graph: Graph, var: relax.Var, matmul: relax.Call) -> NewValues | None:
    weights = _weights(matmul)
    multiply = graph.call(matmul.args[0], "relax.multiply")
    factor = None if multiply is None else array(multiply.args[1])
    if multiply is None or weights is None or factor is None or factor.size != 1:
        return None
    return {var: relax.op.matmul(multiply.args[0], relax.const(_float32(weights * factor.item())))}


def _fold_input(graph: Graph, var: relax.Var, matmul: relax.Call) -> NewValues | None:
    """Factors of a matmul's columns, and summands behind them: a batch norm between an average and a classifier."""
    weights, data = _weights(matmul), matmul.args[0]
    shift = _affine(graph, var, graph.sole_call(data, "relax.add", "relax.subtract"))
    scale = _affine(
        graph, var, graph.sole_call(data if shift is None else shift.data, "relax.multiply", "relax.divide")
    )
    if weights is None or scale is None:
        return None
    layer, _ = _layer_and_bias(graph, scale.data)
    if graph.call(layer, "relax.nn.conv2d", "relax.matmul") is not None:
        return None
    scaled = relax.const(_float32(weights * scale.scale[:, None]))
    product = relax.op.matmul(scale.data, scaled)
    return {var: product if shift is None else relax.op.add(product, relax.const(_float32(shift.shift @ weights)))}
