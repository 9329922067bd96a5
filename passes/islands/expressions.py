"""Operators that work element by element, as expressions of one element: what kernels can apply to their results."""

import math
from collections.abc import Callable

from tvm import relax, tirx
from tvm.ir import Expr

from ..graph.rewrite import array, operator_name

# Of an operator's call, and the elements of its operands.
EXPRESSIONS: dict[str, Callable[..., Expr]] = {
    "relax.abs": lambda _, x: tirx.abs(x),
    "relax.add": lambda _, x, y: x + y,
    "relax.clip": lambda call, x: tirx.min(tirx.max(x, _number(call.args[1].value)), _number(call.args[2].value)),
    "relax.divide": lambda _, x, y: x / y,
    "relax.erf": lambda _, x: tirx.erf(x),
    "relax.exp": lambda _, x: tirx.exp(x),
    "relax.log": lambda _, x: tirx.log(x),
    "relax.maximum": lambda _, x, y: tirx.max(x, y),
    "relax.minimum": lambda _, x, y: tirx.min(x, y),
    "relax.multiply": lambda _, x, y: x * y,
    "relax.negative": lambda _, x: _number(0) - x,
    "relax.nn.gelu": lambda _, x: 0.5 * x * (1.0 + tirx.erf(x * math.sqrt(0.5))),
    "relax.nn.gelu_tanh": lambda _, x: 0.5 * x * (1.0 + tirx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
    "relax.nn.leakyrelu": lambda call, x: tirx.Select(x < 0.0, x * _number(call.attrs.alpha), x),
    "relax.nn.relu": lambda _, x: tirx.max(x, _number(0)),
    "relax.nn.silu": lambda _, x: x * tirx.sigmoid(x),
    "relax.power": lambda _, x, y: tirx.pow(x, y),
    "relax.sigmoid": lambda _, x: tirx.sigmoid(x),
    "relax.sqrt": lambda _, x: tirx.sqrt(x),
    "relax.subtract": lambda _, x, y: x - y,
    "relax.tanh": lambda _, x: tirx.tanh(x),
}
# About how often the kernel's code reads what these take, as the functions are polynomials there; others read it once
READS = {
    "relax.erf": 70,
    "relax.exp": 30,
    "relax.log": 30,
    "relax.nn.gelu": 70,
    "relax.nn.gelu_tanh": 280,
    "relax.nn.leakyrelu": 3,
    "relax.nn.silu": 30,
    "relax.power": 4,
    "relax.sigmoid": 30,
    "relax.tanh": 70,
}
ONE_TENSOR = {"relax.clip"}  # what else these take are no tensors


def operands(call: relax.Call) -> list[relax.Expr] | None:
    """The tensors (and constants) that an operator with an expression takes; None for every other operator."""
    name = operator_name(call)
    if name not in EXPRESSIONS or str(call.ty.dtype) != "float32":
        return None
    return list(call.args[:1] if name in ONE_TENSOR else call.args)


def scalar(expr: relax.Expr) -> float | None:
    """The number that a float32 constant of one element is; None for everything else."""
    value = array(expr)
    return float(value.reshape(())) if value is not None and value.size == 1 and value.dtype == "float32" else None


def _number(value: object) -> Expr:
    return tirx.const(float(value), "float32")  # type: ignore[arg-type]
