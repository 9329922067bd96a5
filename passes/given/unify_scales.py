"""One scale for a tensor that came with one for each channel."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from ..graph.pairs import Pair, same_scale
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape
from .noted import noted_scales, with_noted_scales


@relax_pass
class UnifyScales:
    """Move what sets channels' scales apart into the layers around: NNCF gives depthwise layers' inputs such scales.

    With s the largest of the scales s[c], the layer that computes channel c gets weights and bias times s / s[c], and
    the depthwise layer that reads it weights times s[c] / s: integers between stay the same. So does a ReLU there;
    a Clip has to have bounds that no integer passes anyway. Other tensors with several scales stay as they are.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        scales = noted_scales(mod)

        def unify(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
            found = _found(graph, value)
            if found is None:
                return None
            pair, steps = found
            source = _scaled(graph, pair.data, steps, pair)
            if source is None:
                return None
            values, producer = source
            if producer.name in scales:
                scales[producer.name] = scales[producer.name] * steps
            if var.name in scales:
                scales[var.name] = scales[var.name] / np.repeat(steps, shape(value)[1] // len(steps))
            per_filter = np.repeat(steps, shape(value)[1] // len(steps)).reshape(-1, 1, 1, 1)
            weight = relax.const((array(value.args[1]) / per_filter).astype(np.float32))
            return {
                **values,
                value.args[0]: pair.expr(),
                var: tvm.ir.Call(value.op, [value.args[0], weight], value.attrs),
            }

        return with_noted_scales(rewrite(mod, unify), scales)


def _found(graph: Graph, value: relax.Expr) -> tuple[Pair, np.ndarray] | None:
    """The pair that a depthwise layer reads, with one scale, and by what (C,) float64 its channels have to grow."""
    if operator_name(value) != "relax.nn.conv2d" or array(value.args[1]) is None:
        return None
    channels = shape(value.args[0])[1]
    dequantize = graph.sole_call(value.args[0], "relax.dequantize")
    quantize = None if dequantize is None else graph.sole_call(dequantize.args[0], "relax.quantize")
    if dequantize is None or quantize is None or int(value.attrs.groups) != channels:
        return None
    scales, zeros = (array(each) for each in quantize.args[1:])
    if scales is None or zeros is None or scales.size != channels or channels == 1:
        return None
    if not same_scale(quantize, dequantize):
        return None
    if int(quantize.attrs.axis) % len(shape(quantize)) != 1 or (zeros != zeros.flat[0]).any() or (scales <= 0).any():
        return None
    dtype = str(quantize.attrs.out_dtype)
    info = np.iinfo(dtype)
    largest = scales.max()
    pair = Pair(quantize.args[0], relax.const(np.float32(largest)), dtype, int(zeros.flat[0]), info.min, info.max)
    return pair, np.float64(largest) / scales.reshape(-1).astype(np.float64)


def _scaled(graph: Graph, expr: relax.Expr, steps: np.ndarray, pair: Pair) -> tuple[NewValues, relax.Var] | None:
    """New values of what computes a tensor, with channels times `steps`, and the layer's variable."""
    values = NewValues()
    while not (isinstance(expr, relax.Var) and operator_name(graph.values.get(expr)) == "relax.nn.conv2d"):
        call = graph.sole_call(expr, "relax.nn.relu", "relax.clip", "relax.add")
        if call is None:
            return None
        name, bias = operator_name(call), array(call.args[-1])
        if name == "relax.clip":
            if (clipped := _clipped(call, steps, pair)) is None:
                return None
            values[expr] = clipped
        elif name == "relax.add":
            if bias is None or bias.shape != (1, len(steps), 1, 1):
                return None
            values[expr] = relax.op.add(
                call.args[0], relax.const((bias * steps.reshape(1, -1, 1, 1)).astype(np.float32))
            )
        expr = call.args[0]
    layer = graph.sole_call(expr, "relax.nn.conv2d")
    weight = None if layer is None else array(layer.args[1])
    if layer is None or weight is None:
        return None
    grown = relax.const((weight * steps.reshape(-1, 1, 1, 1)).astype(np.float32))
    values[expr] = tvm.ir.Call(layer.op, [layer.args[0], grown], layer.attrs)
    return values, expr


def _clipped(call: relax.Call, steps: np.ndarray, pair: Pair) -> relax.Expr | None:
    """What a clip becomes whose bounds integers of no channel, or of all, would leave anyway; None of another."""
    low, high = (float(end.value) for end in call.args[1:])
    scale = pair.scale.value.numpy() / steps
    if (np.rint(high / scale) < pair.high - pair.zero).any():
        return None
    if (np.rint(low / scale) <= pair.low - pair.zero).all():
        return call.args[0]
    return relax.op.nn.relu(call.args[0]) if low == 0 else None
