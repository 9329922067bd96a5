"""Functions of single elements, which work on any parts of arrays that fit."""

from collections.abc import Callable

import numpy as np
from tvm import relax

from ...graph.network import Node
from ...graph.pointwise import evaluate, number

Function = Callable[..., np.ndarray]


def elementwise(node: Node) -> Function | None:
    """What a node computes of its inputs and `constants` of it, part by part; None for other operators."""
    make = _ELEMENTWISE.get(node.computes)
    return make(node) if make is not None else None


def constants(node: Node) -> tuple[np.ndarray, ...]:
    r"""What such a function takes behind the inputs (N, \*shape), in a shape that is broadcast to theirs."""
    if node.computes in ("bias_add", "minimum"):
        return (node.constant,)
    if node.computes == "prelu":
        return (node.constant.reshape(-1, *(1,) * (len(node.shape) - 2)),)
    return ()


def _clip(node: Node) -> Function:
    low, high = (np.float32(arg.value) for arg in node.expr.args[1:])
    return lambda x: np.clip(x, low, high)


def _pointwise(node: Node) -> Function:
    call = node.expr
    numbers = [None if isinstance(arg, relax.Var) else number(arg) for arg in call.args]
    given = [isinstance(arg, relax.Var) for arg in call.args]

    def function(*parts: np.ndarray) -> np.ndarray:
        arrays = iter(parts)
        operands = [next(arrays) if is_given else value for is_given, value in zip(given, numbers, strict=True)]
        return evaluate(call, *(operand for operand in operands if operand is not None))  # a clip's bounds are none

    return function


_ELEMENTWISE: dict[str, Callable[[Node], Function]] = {
    "add": lambda _: np.add,
    "bias_add": lambda _: np.add,
    "clip": _clip,
    "minimum": lambda _: np.minimum,
    "multiply": lambda _: np.multiply,
    "pointwise": _pointwise,
    "prelu": lambda _: lambda x, slope: np.where(x < 0, x * slope, x),
    "relu": lambda _: lambda x: np.maximum(x, 0),
}
