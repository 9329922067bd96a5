"""A trained network as the integer program computes it, for judging: section 5 of docs/integer-program.md.

A layer of few bits has few different accumulators, and a function of integers few results. Where one of them lies
within float32's error of a tie, it does so in every image, and what follows amplifies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from eq_tvm.passes.arithmetic.fixed_point import least_spread
from eq_tvm.passes.graph.network import Node
from eq_tvm.passes.graph.pointwise import evaluate
from eq_tvm.passes.graph.resizing import is_bilinear, resize
from eq_tvm.passes.graph.rewrite import array
from eq_tvm.passes.quantized.float_operators.pooling import avg_pool_count
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.schedules.rows.softmax import softmax_tables
from eq_tvm.train.integer_values import (
    Accumulators,
    Bounded,
    IntegerValue,
    Mapped,
    Normalized,
    Raw,
    Rectified,
    Shares,
    Sum,
    deviations,
    exponentials,
    real,
)
from eq_tvm.train.operators import Operator

Value: TypeAlias = Tensor | IntegerValue


class Trained(Protocol):
    """What the rules ask of a network in training."""

    problem: Problem
    operators: Mapping[int, Operator]
    constants: Mapping[int, Sequence[Tensor | None]]
    biases: nn.ParameterDict

    def compute(self, i: int, operands: Sequence[Tensor]) -> Tensor:
        """A node's value in float32."""

    def is_implied(self, i: int) -> bool:
        """Whether quantizing its result is all that a bound does."""

    def layer_weight(self, i: int) -> Tensor:
        """Quantized weights of a layer."""

    def weight_scale(self, i: int) -> Tensor:
        """Of a shape that these can be divided by."""


def exactly(network: Trained, i: int, operands: Sequence[Value]) -> Value:
    """The value of a node, given those of what it reads: `Raw` where these are quantized."""
    if network.is_implied(i):
        return operands[0]
    op, raws = network.problem.net.nodes[i].op, [each for each in operands if isinstance(each, Raw)]
    value = None
    if op in _OF_RAW and len(raws) == len(operands):
        value = _OF_RAW[op](network, i, *raws)
    elif op in _OF_OTHERS:
        value = _OF_OTHERS[op](network, i, operands)
    return network.compute(i, [real(each) for each in operands]) if value is None else value


def half_up(value: Tensor, scale: Tensor) -> Tensor:
    """Averages of integers, as section 5 of the integer program has those of resizing: of the same scale, rounded.

    Enlarging by 2 makes a tie of each eighth average. Float32 is on either side of it, so a little more counts as one.
    """
    with torch.no_grad():
        steps = (value / scale + (0.5 + _NEAR)).floor() * scale
        change = steps - value
    return value + change


_NEAR = 2.0**-12  # steps


def _layer(network: Trained, i: int, source: Raw) -> Accumulators:
    shape = (-1, 1, 1) if network.problem.net.nodes[i].op == "conv2d" else (-1,)
    scale = network.weight_scale(i)
    weight = (network.layer_weight(i) / scale).round()
    unit = (source.scale.double() * scale.double()).float().double().reshape(-1)
    most = weight.abs().flatten(1).sum(1) if len(shape) > 1 else weight.abs().sum(0)
    is_small = most.max() * max(-source.lo, source.hi) < _EXACT
    dtype = torch.float32 if is_small else torch.float64
    whole = network.operators[i](source.q.to(dtype), weight.to(dtype)).double()
    bias = network.biases.get(str(i))
    if bias is not None:
        whole = whole + (bias.double() / unit).round().reshape(shape)
    return Accumulators(whole, unit.reshape(shape))


_EXACT = 2.0**24  # float32 holds all whole numbers up to it


def _product(network: Trained, i: int, first: Raw, second: Raw) -> Accumulators:
    return Accumulators(network.operators[i](first.q, second.q), first.scale.double() * second.scale.double())


def _average(network: Trained, i: int, source: Raw) -> Accumulators:
    count = torch.as_tensor(avg_pool_count(network.problem.net.nodes[i], tuple(source.q.shape))).double()
    return Accumulators((network.operators[i](source.q) * count).round(), source.scale.double(), count)


def _sum(_network: Trained, _i: int, operands: Sequence[Value]) -> Sum | None:
    for first, second in (operands, operands[::-1]):
        if isinstance(first, Raw) and isinstance(second, Raw | Accumulators):
            return Sum(first, second)
    return None


def _offset(network: Trained, i: int, source: Raw) -> Sum:
    return Sum(source, network.problem.net.nodes[i].constant)


def _prelu(network: Trained, i: int, source: Raw) -> Rectified:
    slopes = torch.from_numpy(network.problem.net.nodes[i].constant)
    return Rectified(source, slopes.reshape(-1, *(1,) * (source.q.ndim - 2)))


def _softmax(network: Trained, i: int, source: Raw) -> Shares:
    (table,) = softmax_tables(np.float64(source.scale.item()), source.hi - source.lo + 1, lanes=1)
    return Shares(exponentials(source, table[::-1].copy()), lambda: network.compute(i, [source.real()]))


def _normalized(network: Trained, i: int, source: Raw) -> Normalized:
    node = network.problem.net.nodes[i]
    gamma, *beta = (values for arg in node.expr.args[1:] if (values := array(arg)) is not None)
    least = least_spread(node.expr.attrs.epsilon, source.q.shape[-1], np.float64(source.scale.item()))
    rows = deviations(source, float(least), node.op == "layer_norm")
    return Normalized(
        rows, gamma, beta[0] if beta else np.zeros_like(gamma), lambda: network.compute(i, [source.real()])
    )


def _function(network: Trained, i: int, operands: Sequence[Value]) -> Mapped | None:
    """A table of all integers that its source has."""
    node = network.problem.net.nodes[i]
    functions = [function for value in operands if (function := _of_integers(value)) is not None]
    if not functions or len(functions) < len(operands):
        return None
    results = iter(function.results for function in functions)
    numbers = (None if each is None else np.float64(each.flatten()[0].item()) for each in network.constants[i])
    table = evaluate(node.expr, *(next(results) if each is None else each for each in numbers))
    return Mapped(functions[0].source, table)


def _of_integers(value: Value) -> Mapped | None:
    if isinstance(value, Raw):
        return Mapped(value, np.arange(value.lo, value.hi + 1) * np.float64(value.scale.item()))
    if isinstance(value, Bounded) and isinstance(value.value, Raw):
        source = _of_integers(value.value)
        assert source is not None
        return Mapped(source.source, np.clip(source.results, np.float32(value.low), np.float32(value.high)))
    return value if isinstance(value, Mapped) else None


def _resized(network: Trained, i: int, source: Raw) -> Raw | None:
    call = network.problem.net.nodes[i].expr
    if not is_bilinear(call):
        return None
    dtype = "int32" if max(-source.lo, source.hi) > np.iinfo(np.uint8).max else "int16"
    return replace(source, q=torch.from_numpy(resize(call, source.q.numpy().astype(dtype))).double())


def _bounded(network: Trained, i: int, operands: Sequence[Value]) -> Bounded | None:
    (value,) = operands
    if not isinstance(value, IntegerValue):
        return None
    low, high = _ends(network.problem.net.nodes[i])
    if isinstance(value, Bounded):
        first, last = value.low, value.high
        return Bounded(value.value, min(max(first, low), high), max(min(last, high), low))
    return Bounded(value, low, high)


def _ends(node: Node) -> tuple[float, float]:
    if node.op == "relu":
        return 0.0, np.inf
    low, high = (float(arg.value) for arg in node.expr.args[1:])
    return low, high


_OF_RAW: dict[str, Callable[..., IntegerValue | None]] = {
    "conv2d": _layer,
    "dense": _layer,
    "matmul": _product,
    "multiply": _product,
    "avg_pool2d": _average,
    "mean": _average,
    "offset": _offset,
    "prelu": _prelu,
    "softmax": _softmax,
    "layer_norm": _normalized,
    "rms_norm": _normalized,
    "resize": _resized,
}
_OF_OTHERS: dict[str, Callable[[Trained, int, Sequence[Value]], IntegerValue | None]] = {
    "add": _sum,
    "pointwise": _function,
    "relu": _bounded,
    "clip": _bounded,
}
