"""The lowering rule of functions of single elements: one quantized tensor's become a table."""

import numpy as np

from ..graph.pointwise import evaluate, is_pointwise, number
from .lowered_values import Bounded, Mapped, Tensor
from .materialize import bound


def pointwise(low, call):
    """The value of a function of one quantized tensor's elements, or None. See `lowering_rules`."""
    if not is_pointwise(call):
        return None
    functions = [_function(low.value(arg)) for arg in call.args if number(arg) is None]
    if None in functions or any(not _same(functions[0].source, f.source) for f in functions):
        return None
    results = iter(f.results for f in functions)
    operands = [next(results) if number(arg) is None else np.float64(number(arg)) for arg in call.args]
    return Mapped(functions[0].source, evaluate(call, *operands))


def _function(value):
    """A value as a function of a quantized tensor, if it is one."""
    if isinstance(value, Bounded):
        return bound(_function(value.source), *value.bounds)
    if isinstance(value, Tensor) and value.quantized:
        return Mapped(value, np.arange(value.low, value.high + 1) * np.float64(value.scale))
    return value if isinstance(value, Mapped) else None


def _same(first, second):
    return first.expr.same_as(second.expr) and first.scale == second.scale
