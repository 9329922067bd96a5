"""Rewrite a canonical module to the annotated form, given all scales."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax

from ..graph.network import Network, Node, substitute
from ..graph.notes import without_notes
from ..graph.rebuild import rebuild
from ..graph.rewrite import emit_named
from .quantization_points import QuantizationPoints
from .quantizers import Range, accumulator_scale, quantize_bias, quantize_weight


@dataclass
class Scales:
    """What calibration finds.

    Attributes
    ----------
    activations : numpy.ndarray (G,) float32
        One scale per scale group.
    weights : dict of int to numpy.ndarray (O,) float32
        For each conv2d and dense node one scale per output channel.
    ranges : list of Range
        Of each scale group, see `ScaleGroup`.
    constants : dict of int to numpy.ndarray float32
        Weights and biases to quantize instead of the network's own, by the conv2d, dense or bias_add node.
    """

    activations: np.ndarray
    weights: dict[int, np.ndarray]
    ranges: list[Range]
    constants: dict[int, np.ndarray] = field(default_factory=dict)

    def copy(self) -> "Scales":
        """Scales that can be changed without changing these."""
        return Scales(self.activations.copy(), dict(self.weights), list(self.ranges), dict(self.constants))

    def constant(self, net: Network, node: int) -> np.ndarray:
        """The weight or bias to quantize."""
        return self.constants.get(node, net.nodes[node].constant)

    def input_scale(self, net: Network, points: QuantizationPoints, layer: int) -> np.float32:
        """Scale of the activation that a layer reads."""
        return self.activations[points.scale_group_of[net.nodes[layer].inputs[0]]]


def annotate(
    mod: tvm.IRModule, net: Network, points: QuantizationPoints, scales: Scales, weight_limit: Callable[[int], int]
) -> tvm.IRModule:
    """Put quantize/dequantize pairs behind the producers of each group, and dequantized constants into each layer.

    Everything that reads a quantized activation reads the dequantized one, network outputs and float operators too; but
    of the network's inputs `QuantizationPoints.float_readers` and outputs read what was given.
    A cast to float32 stands before operators without weights that are kept float: so they read no integers.
    Upper bounds of channels are left out where a range ends within all of them: see `is_implied`.
    `weight_limit` gives the greatest magnitude of a layer's quantized weights.
    """
    producers = {i: g for g, group in enumerate(points.scale_groups) for i in group.producers}

    def quantized_as(builder: relax.BlockBuilder, i: int, x: relax.Var) -> relax.Var:
        group = producers[i]
        return _quantize_dequantize(builder, x, scales.activations[group], scales.ranges[group], net.nodes[i].name)

    def bind(builder: relax.BlockBuilder, i: int, expr: relax.Expr) -> relax.Expr:
        node = net.nodes[i]
        if i in producers and is_implied(node, scales.activations[producers[i]], scales.ranges[producers[i]]):
            return quantized_as(builder, i, expr.args[0])
        if node.op in ("conv2d", "dense"):
            axis = 0 if node.op == "conv2d" else 1
            quantized = quantize_weight(scales.constant(net, i), scales.weights[i], weight_limit(i), axis)
            weight = _dequantized(builder, quantized, scales.weights[i], axis, f"{node.name}_weight_dq")
            expr = relax.Call(expr.op, [expr.args[0], weight], expr.attrs)
        elif node.op == "bias_add":
            layer = node.inputs[0]
            scale = accumulator_scale(scales.input_scale(net, points, layer), scales.weights[layer])
            quantized = quantize_bias(scales.constant(net, i).reshape(-1), scale).reshape(node.constant.shape)
            axis = 1 if quantized.ndim == 4 else 0
            bias = _dequantized(builder, quantized, scale, axis, f"{net.nodes[layer].name}_bias_dq")
            expr = relax.Call(expr.op, [expr.args[0], bias], expr.attrs)
        elif node.left_float and node.left_float not in ("conv2d", "dense"):
            expr = _of_floats(builder, net, points, i, expr)
        var = expr if node.op == "input" else emit_named(builder, expr, node.name)
        return quantized_as(builder, i, var) if i in producers else var

    return without_notes(rebuild(mod, net, bind, points.float_readers))


def _of_floats(
    builder: relax.BlockBuilder, net: Network, points: QuantizationPoints, i: int, expr: relax.Expr
) -> relax.Expr:
    """An operator that is kept float on what has left the integers: its result may be quantized, too."""
    left: dict[relax.Var, relax.Var] = {}

    def leave(var: relax.Var) -> relax.Var:
        if var not in left:
            left[var] = emit_named(builder, relax.op.astype(var, "float32"), f"{net.nodes[i].name}_float{len(left)}")
        return left[var]

    return substitute(expr, leave) if any(j in points.scale_group_of for j in net.nodes[i].inputs) else expr


def is_implied(node: Node, scale: np.float32, range_: Range) -> bool:
    """Whether a node bounds channels only beyond the end of the range that its result is quantized to."""
    if node.op != "minimum":
        return False
    with np.errstate(over="ignore"):
        return bool((np.rint(node.constant / np.float32(scale)) >= range_.hi).all())


def _quantize_dequantize(
    builder: relax.BlockBuilder, x: relax.Var, scale: np.float32, range_: Range, name: str
) -> relax.Var:
    scale, zero = relax.const(np.float32(scale)), relax.const(np.array(range_.zero_point, range_.stored))
    q = emit_named(builder, relax.op.quantize(x, scale, zero, axis=-1, out_dtype=range_.stored), f"{name}_q")
    info, limits = np.iinfo(range_.stored), [end + range_.zero_point for end in (range_.lo, range_.hi)]
    if limits != [info.min, info.max]:
        q = emit_named(builder, relax.op.clip(q, *limits), f"{name}_clipped")
    return emit_named(builder, relax.op.dequantize(q, scale, zero, axis=-1, out_dtype="float32"), f"{name}_dq")


def _dequantized(builder: relax.BlockBuilder, values: np.ndarray, scale: np.ndarray, axis: int, name: str) -> relax.Var:
    zeros = np.zeros(scale.shape, values.dtype)
    call = relax.op.dequantize(relax.const(values), relax.const(scale), relax.const(zeros), axis, "float32")
    return emit_named(builder, call, name)
