"""The lowering rule of functions of single elements: one quantized tensor's become a table."""

import numpy as np
from tvm import relax

from ...graph.pointwise import evaluate, is_pointwise, number
from ...graph.rewrite import array
from ..lowered_values import Bounded, Mapped, Rectified, Tensor, Value
from ..lowering import Lowering


def pointwise(low: Lowering, call: relax.Call) -> Mapped | None:
    """The value of a function of one quantized tensor's elements, or None. See `rules`."""
    if not is_pointwise(call):
        return None
    numbers = [number(arg) for arg in call.args]
    values = [low.value(arg) for arg, constant in zip(call.args, numbers, strict=True) if constant is None]
    functions = [function for value in values if (function := _function(value)) is not None]
    if len(functions) < len(values) or any(not _same(functions[0].source, f.source) for f in functions):
        return None
    results = iter(f.results for f in functions)
    operands = [next(results) if constant is None else np.float64(constant) for constant in numbers]
    return Mapped(functions[0].source, evaluate(call, *operands))


def prelu(low: Lowering, call: relax.Call) -> Rectified | None:
    """`nn.prelu` of a quantized tensor, with a slope for each channel."""
    source, slopes = low.value(call.args[0]), array(call.args[1])
    if not (isinstance(source, Tensor) and source.quantized) or slopes is None or call.attrs.axis != 1:
        return None
    if len(source.shape) not in (2, 4):
        return None
    return Rectified(low.layout(source, True), slopes.astype("float32"))


def _function(value: Value) -> Mapped | None:
    """A value as a function of a quantized tensor, if it is one."""
    if isinstance(value, Bounded):
        return _identity(value.source).clipped(*value.bounds)
    if isinstance(value, Tensor) and value.quantized:
        return _identity(value)
    return value if isinstance(value, Mapped) else None


def _identity(tensor: Tensor) -> Mapped:
    return Mapped(tensor, np.arange(tensor.low, tensor.high + 1) * tensor.unit)


def _same(first: Tensor, second: Tensor) -> bool:
    return first.expr.same_as(second.expr) and first.scale == second.scale
