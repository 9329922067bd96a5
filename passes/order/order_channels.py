"""Annotated -> annotated: channels in an order in which longer sums of products fit 16 bits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax

from eq_tvm.schedules.processor.machine import Machine

from ..graph.relax_pass import relax_pass
from ..graph.rewrite import array, replace_values, shape
from .channel_arrays import ChannelArrays
from .exchanges import Reader, better_order
from .quantized_layers import QuantizedLayer, quantized_layers


@relax_pass
class OrderChannels:
    """Exchange channels between layers of an annotated module: each result keeps its bits.

    Instructions that add products in 16 bits do so for neighbours among the input channels, as many as provably fit
    (`eq_tvm.schedules.choice.chains`). One neighbourhood of large weights, for one output channel, makes sums shorter
    for a whole layer. Where channels go from layer to layer, perhaps through pooling, additions or concatenations,
    they may stand in any order, as sums of integers do not depend on it.

    Parameters
    ----------
    machine : eq_tvm.schedules.processor.machine.Machine
        The CPU's multiply instructions.

    Attributes
    ----------
    record : list of str
        After a run: the layers that read channels in another order.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.record: list[str] = []

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace constants."""
        arrays = ChannelArrays(mod)
        layers = quantized_layers(arrays, self.machine)
        orders: dict[int, np.ndarray] = {}
        for i in sorted({part.array for layer in layers for part in layer.parts} - arrays.frozen):
            readers = [reader for layer in layers for reader in _readers(layer, arrays, orders, i)]
            order = better_order(readers) if readers else None
            if order is not None:
                orders[i] = order
        self.record = [layer.name for layer in layers if any(part.array in orders for part in layer.parts)]
        return _exchanged(mod, arrays, orders) if orders else mod


def _readers(layer: QuantizedLayer, arrays: ChannelArrays, orders: Mapping[int, np.ndarray], i: int) -> list[Reader]:
    """The layer, once for each way to add up products, if it reads the channels of an array one by one."""
    of_array = [np.full(arrays.extent(part), (part.array, part.repeat) == (i, 1)) for part in layer.parts]
    places = np.flatnonzero(np.concatenate(of_array))
    if not len(places):
        return []
    products = layer.products(arrays.order(layer.parts, orders))
    return [Reader(products, places, sums) for sums in layer.sums]


def _exchanged(mod: tvm.IRModule, arrays: ChannelArrays, orders: Mapping[int, np.ndarray]) -> tvm.IRModule:
    """The module with constants whose channels stand in these orders."""
    values: dict[relax.Var, relax.Expr] = {}
    for var, value in arrays.values.items():
        args = list(getattr(value, "args", ()))
        for i, axes in arrays.constants(var):
            changed = {
                axis: arrays.order(parts, orders)
                for axis, parts in axes.items()
                if any(part.array in orders for part in parts)
            }
            if changed:
                args[i] = _taken(arrays, args[i], changed)
                values[var] = relax.Call(value.op, args, value.attrs, value.ty_args)
    return relax.transform.DeadCodeElimination(["main"])(replace_values(mod, values))


def _taken(arrays: ChannelArrays, arg: relax.Expr, orders: Mapping[int, np.ndarray]) -> relax.Expr:
    """A constant argument, plain or dequantized, with another order along some axes."""
    value = arrays.values.get(arg, arg)
    if not isinstance(value, relax.Call):
        return _take(value, orders)
    values, *by_channel = value.args
    order = orders.get(int(value.attrs.axis) % len(shape(values)))
    if order is not None:
        by_channel = [each if math.prod(shape(each)) == 1 else _take(each, {0: order}) for each in by_channel]
    return relax.Call(value.op, [_take(values, orders), *by_channel], value.attrs)


def _take(constant: relax.Constant, orders: Mapping[int, np.ndarray]) -> relax.Constant:
    values = array(constant)
    assert values is not None
    for axis, order in orders.items():
        values = values.take(order, axis)
    return relax.const(values, str(values.dtype))
