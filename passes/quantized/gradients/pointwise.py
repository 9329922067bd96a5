"""Slopes of functions of single elements."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from ...graph.network import Node
from ...graph.pointwise import FUNCTIONS
from ...graph.rewrite import array, operator_name

# Of a result and the operands that are tensors, the slope by each of them.
Slopes = Callable[..., list[np.ndarray]]


def slopes(node: Node) -> Slopes | None:
    """The derivatives of a function of elements by its inputs; None where they are not known.

    Constants are numbers, or tensors that are broadcast, as a batch norm that is in front of an activation has them.
    """
    call = node.expr
    derivatives = _DERIVATIVES.get(operator_name(call) or "")
    if derivatives is None:
        return None
    # relu and clip have bounds where others have operands
    args = call.args[: len(derivatives)]
    given = [isinstance(arg, relax.Var) for arg in args]
    constants = [None if is_given else array(arg) for is_given, arg in zip(given, args, strict=True)]
    if any(not is_given and x is None for is_given, x in zip(given, constants, strict=True)):
        return None

    def of(result: np.ndarray, *inputs: np.ndarray) -> list[np.ndarray]:
        arrays = iter(inputs)
        operands = [next(arrays) if is_given else value for is_given, value in zip(given, constants, strict=True)]
        with np.errstate(all="ignore"):
            found = [
                derivative(call, result, *operands)
                for derivative, is_given in zip(derivatives, given, strict=True)
                if is_given
            ]
        return [np.asarray(x, np.float32) for x in found]

    return of


def _clip(call: Any, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    low, high = (float(arg.value) for arg in call.args[1:])
    return (x > low) & (x < high)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _gelu(call: Any, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    share = (1 + FUNCTIONS["relax.erf"](call, x / np.float32(math.sqrt(2)))) / 2
    return np.asarray(share + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def _gelu_tanh(call: Any, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    factor = math.sqrt(2 / math.pi)
    inner = np.tanh(factor * (x + 0.044715 * x * x * x))
    return np.asarray((1 + inner) / 2 + x * (1 - inner * inner) / 2 * factor * (1 + 3 * 0.044715 * x * x))


_ONE = np.float32(1)

# For each operand, of the call, the result and the operands. Of two equal ones, the first is larger, and smaller.
_DERIVATIVES: dict[str, tuple[Callable[..., Any], ...]] = {
    "relax.abs": (lambda _, y, x: np.sign(x),),
    "relax.add": (lambda _, y, a, b: _ONE, lambda _, y, a, b: _ONE),
    "relax.clip": (_clip,),
    "relax.divide": (lambda _, y, a, b: 1 / b, lambda _, y, a, b: -y / b),
    "relax.erf": (lambda _, y, x: 2 / math.sqrt(math.pi) * np.exp(-x * x),),
    "relax.exp": (lambda _, y, x: y,),
    "relax.log": (lambda _, y, x: 1 / x,),
    "relax.maximum": (lambda _, y, a, b: a >= b, lambda _, y, a, b: b > a),
    "relax.minimum": (lambda _, y, a, b: a <= b, lambda _, y, a, b: b < a),
    "relax.multiply": (lambda _, y, a, b: b, lambda _, y, a, b: a),
    "relax.negative": (lambda _, y, x: -_ONE,),
    "relax.nn.gelu": (_gelu,),
    "relax.nn.gelu_tanh": (_gelu_tanh,),
    "relax.nn.leakyrelu": (lambda call, y, x: np.where(x < 0, np.float32(call.attrs.alpha), _ONE),),
    "relax.nn.prelu": (lambda _, y, x, a: np.where(x < 0, a, _ONE), lambda _, y, x, a: np.where(x < 0, x, 0)),
    "relax.nn.relu": (lambda _, y, x: x > 0,),
    "relax.nn.silu": (lambda _, y, x: _sigmoid(x) * (1 + x - y),),
    "relax.sigmoid": (lambda _, y, x: y * (1 - y),),
    "relax.sqrt": (lambda _, y, x: 1 / (2 * y),),
    "relax.subtract": (lambda _, y, a, b: _ONE, lambda _, y, a, b: -_ONE),
    "relax.tanh": (lambda _, y, x: 1 - y * y,),
}
