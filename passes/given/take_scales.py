"""Canonical, with quantize/dequantize pairs that came with it -> annotated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relax

from ..graph.pairs import same_scale
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape
from ..quantized.quantizers import WEIGHT_LIMITS, accumulator_scale, max_abs_scale, quantize_bias, quantize_weight
from .noted import noted_scales, with_noted_scales
from .weight_grid import on_grid


@dataclass(frozen=True)
class TakenLayer:
    """A layer of integer weights.

    Attributes
    ----------
    layer, op : str
    input_scale : float
    weight_scales : list of float
        One for each output channel.
    given : bool
        Whether the weights had these scales; otherwise they were requantized.
    """

    layer: str
    op: str
    input_scale: float
    weight_scales: list[float]
    given: bool


@relax_pass
class TakeScales:
    """Write weights and biases of the layers that read integers as integers, with the scales that they came with.

    Layers whose weights are no integers in any scale, or that read what is not quantized, stay float. The attribute
    ``weight_scales`` of ``main``, if it is there, has the scales (O,) of layers by their names: it tells which ones it
    was, where weights are products of integers by several.

    Parameters
    ----------
    requantize : bool
        Give channels whose weights are integers of more than 8 bits once their zero point is subtracted scales anew, by
        their largest magnitudes.

    Attributes
    ----------
    record : list of TakenLayer
        After a run, the layers that have integer weights.
    left : list of (str, str)
        Those that stay float, with their operators.

    Raises
    ------
    ValueError
        Such weights, where they are not to be requantized; names the layer.
    """

    def __init__(self, *, requantize: bool = False) -> None:
        self.requantize = requantize
        self.record: list[TakenLayer] = []
        self.left: list[tuple[str, str]] = []

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        self.record, scales = [], noted_scales(mod)
        weighted = rewrite(mod, lambda graph, var, value: self._weights(scales, graph, var, value))
        result = rewrite(weighted, _bias)
        self.left = [
            (var.name, layer.op)
            for var, value in Graph(result).values.items()
            if (layer := _LAYERS.get(operator_name(value))) is not None and array(value.args[1]) is not None
        ]
        return with_noted_scales(result, {})

    def _weights(
        self, scales: Mapping[str, np.ndarray], graph: Graph, var: relax.Var, value: relax.Expr
    ) -> NewValues | None:
        layer = _LAYERS.get(operator_name(value))
        weight = None if layer is None else array(value.args[1])
        if layer is None or weight is None or weight.ndim != layer.rank:
            return None
        if (scale := input_scale(graph, value.args[0])) is None:
            return None
        by_channel = np.moveaxis(weight, layer.axis, 0)
        rows = by_channel.reshape(len(by_channel), -1)
        found, taken = on_grid(rows, scales.get(var.name)), True
        if found is None:
            if var.name not in scales:  # nobody quantized them
                return None
            if not self.requantize:
                raise ValueError(
                    f"layer {var.name}: its weights are no integers of 8 bits, in a scale for each output channel, "
                    "once their zero point is subtracted: --requantize gives it scales anew; or quantize the network "
                    "with symmetric weights"
                )
            found, taken = _requantized(rows, scales[var.name]), False
        self.record.append(TakenLayer(var.name, layer.op, float(scale), found[1].tolist(), taken))
        integers = np.ascontiguousarray(np.moveaxis(found[0].reshape(by_channel.shape), 0, layer.axis))
        return {var: _with_weights(value, integers, found[1], layer.axis)}


def input_scale(graph: Graph, expr: relax.Expr) -> np.float32 | None:
    """The scale of a tensor of real numbers that integers stand for; None of all others."""
    while (passed := graph.call(expr, *_PASS_THROUGH)) is not None:
        expr = passed.args[0]
    concat = graph.call(expr, "relax.concat")
    if concat is not None:
        scales = {input_scale(graph, field) for field in concat.args[0]}
        return scales.pop() if len(scales) == 1 else None
    pair = graph.call(expr, "relax.dequantize")
    if pair is None or array(pair.args[0]) is not None or not _matches(graph, pair):
        return None
    scale = array(pair.args[1])
    return None if scale is None or scale.size != 1 else np.float32(scale.item())


class _Layer(NamedTuple):
    op: str
    axis: int  # of output channels, in the weights
    rank: int


def _matches(graph: Graph, dequantize: relax.Call) -> bool:
    """Whether it reads integers at the scale that they have, where that is known."""
    integers = dequantize.args[0]
    while (passed := graph.call(integers, "relax.clip", *_PASS_THROUGH)) is not None:
        integers = passed.args[0]
    quantize = graph.call(integers, "relax.quantize")
    return quantize is None or same_scale(quantize, dequantize)


_LAYERS: dict[str | None, _Layer] = {"relax.nn.conv2d": _Layer("conv2d", 0, 4), "relax.matmul": _Layer("dense", 1, 2)}
_MOST = 2**8  # magnitude of what a layer reads
_FITS = 2.0**31 * 0.99
_MOVES = ("relax.permute_dims", "relax.reshape", "relax.expand_dims", "relax.squeeze")
_PASS_THROUGH = (*_MOVES, "relax.nn.max_pool2d", "relax.nn.pad", "relax.strided_slice", "relax.image.resize2d")


def _bias(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    """The bias behind a layer of integer weights, in the scale of its accumulator."""
    if operator_name(value) != "relax.add" or (bias := array(value.args[1])) is None:
        return None
    call = graph.call(value.args[0], "relax.nn.conv2d", "relax.matmul")
    weight = None if call is None else graph.call(call.args[1], "relax.dequantize")
    if call is None or weight is None or (of_input := input_scale(graph, call.args[0])) is None:
        return None
    channel = 1 if len(shape(value)) > 2 else len(shape(value)) - 1
    integers, weight_scale = array(weight.args[0]), array(weight.args[1])
    if integers is None or weight_scale is None or bias.size != shape(value)[channel]:
        return None
    axis = _LAYERS[operator_name(call)].axis
    coarser = _coarser(bias.reshape(-1), of_input, integers, weight_scale, axis)
    if coarser.any():
        steps = 2.0 ** coarser.reshape([-1 if i == axis else 1 for i in range(integers.ndim)])
        integers, weight_scale = np.rint(integers / steps).astype(np.int8), np.ldexp(weight_scale, coarser)
    scale = accumulator_scale(of_input, weight_scale)
    steps = quantize_bias(bias.reshape(-1), scale).reshape(bias.shape)
    biased = {var: relax.op.add(value.args[0], _dequantized(steps, scale, 1 if bias.ndim > 2 else 0))}
    if coarser.any():
        biased[value.args[0]] = _with_weights(call, integers, weight_scale, axis)
    return biased


def _coarser(
    bias: np.ndarray, input_scale: np.float32, weights: np.ndarray, scales: np.ndarray, axis: int
) -> np.ndarray:
    """By what power of 2 (O,) scales have to grow so that accumulators fit 32 bits.

    Those of a channel next to whose bias its weights are nothing, which therefore lose nothing.
    """
    most = np.abs(weights.astype(np.int64)).sum(axis=tuple(i for i in range(weights.ndim) if i != axis)) * _MOST
    steps = np.abs(bias.astype(np.float64)) / (np.float64(input_scale) * scales.astype(np.float64))
    return np.ceil(np.log2(np.maximum((most + steps) / _FITS, 1))).astype(np.int32)


def _requantized(weight: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers, and scales (O,), of real weights (O, K): anew only for channels that do not fit 8 bits as they are."""
    limit = WEIGHT_LIMITS["int8"]
    scales = max_abs_scale(np.abs(weight).max(axis=1), limit)
    integers = quantize_weight(weight, scales, limit, 0)
    for channel, scale in enumerate(np.broadcast_to(given, scales.shape) if given.size in (1, scales.size) else ()):
        if (kept := on_grid(weight[channel : channel + 1], scale.reshape(1))) is not None:
            integers[channel], scales[channel] = kept[0][0], kept[1][0]
    return integers, scales


def _with_weights(layer: relax.Call, integers: np.ndarray, scales: np.ndarray, axis: int) -> relax.Call:
    return tvm.ir.Call(layer.op, [layer.args[0], _dequantized(integers, scales, axis)], layer.attrs)


def _dequantized(integers: np.ndarray, scale: np.ndarray, axis: int) -> relax.Expr:
    zeros = np.zeros(scale.shape, integers.dtype)
    return relax.op.dequantize(relax.const(integers), relax.const(scale), relax.const(zeros), axis, "float32")
