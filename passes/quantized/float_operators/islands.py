"""Operators that stay float, by their names in Relax: those that would be slow where TVM compiles them unscheduled."""

from collections.abc import Callable

import numpy as np
from tvm import relax

from ...arithmetic.exact_product import exact_product
from ...arithmetic.exponential import exp
from ...graph.network import Node
from ...graph.pointwise import FUNCTIONS, evaluate
from ...graph.rewrite import array, operator_name, shape
from .constants import constant

_PER_CHANNEL = {"relax.nn.prelu"}  # their second operand is not broadcast as numpy does


def island(node: Node) -> Callable[..., np.ndarray] | None:
    """What computes a node of float32 that is left float, as a function of it and its inputs; None for most."""
    call, name = node.expr, operator_name(node.expr)
    if name is None or str(call.ty.dtype if node.is_tensor else "") != "float32":
        return None
    tensors = [arg for arg in call.args if isinstance(arg, relax.Var)]
    constants = [arg for arg in call.args if array(arg) is not None]
    if len(tensors) + len(constants) < len(call.args) or any(str(arg.ty.dtype) != "float32" for arg in call.args):
        return None
    if name in _OF_ONE_TENSOR:
        first = isinstance(call.args[0], relax.Var) and len(tensors) == 1
        return _OF_ONE_TENSOR[name] if first else None
    if name == "relax.matmul":
        return _matmul if min(len(shape(arg)) for arg in call.args) > 1 else None
    return _broadcast if name in FUNCTIONS and name not in _PER_CHANNEL else None


def _operands(node: Node, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """All operands (N, ...), constants with an N of 1, of as many axes as the one that has most."""
    arrays = iter(inputs)
    found = [next(arrays) if isinstance(arg, relax.Var) else constant(arg)[None] for arg in node.expr.args]
    rank = max(x.ndim for x in found)
    return [x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]) for x in found]


def _broadcast(node: Node, *inputs: np.ndarray) -> np.ndarray:
    return evaluate(node.expr, *_operands(node, inputs))


def _matmul(node: Node, *inputs: np.ndarray) -> np.ndarray:
    return exact_product(*_operands(node, inputs)).astype(np.float32)


def _softmax(node: Node, x: np.ndarray) -> np.ndarray:
    axis = _axes([node.expr.attrs.axis], x)
    with np.errstate(all="ignore"):  # masks have infinite elements
        result = exp(x - x.max(axis, keepdims=True))
        result /= result.sum(axis, keepdims=True)
    return result


def _layer_norm(node: Node, x: np.ndarray) -> np.ndarray:
    attrs, axes = node.expr.attrs, _axes(node.expr.attrs.axes, x)
    extents = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
    with np.errstate(all="ignore"):
        result = x - x.mean(axes, keepdims=True)
        result /= np.sqrt(np.square(result).mean(axes, keepdims=True) + np.float32(attrs.epsilon))
        factor, summand = (constant(arg).reshape(extents) for arg in node.expr.args[1:])  # TVM takes both in any case
        return result * factor + summand


def _rms_norm(node: Node, x: np.ndarray) -> np.ndarray:
    attrs, axes = node.expr.attrs, _axes(node.expr.attrs.axes, x)
    extents = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
    with np.errstate(all="ignore"):
        root = np.sqrt(np.square(x).mean(axes, keepdims=True) + np.float32(attrs.epsilon))
        return x / root * constant(node.expr.args[1]).reshape(extents)


def _reduction(reduce: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def of(node: Node, x: np.ndarray) -> np.ndarray:
        attrs = node.expr.attrs
        axes = tuple(range(1, x.ndim)) if attrs.axis is None else _axes(attrs.axis, x)
        return reduce(x, axis=axes, keepdims=bool(attrs.keepdims))

    return of


def _axes(axes: list[int], x: np.ndarray) -> tuple[int, ...]:
    """Of (N, ...), by those of the operator."""
    return tuple(int(axis) % (x.ndim - 1) + 1 for axis in axes)


_OF_ONE_TENSOR: dict[str, Callable[..., np.ndarray]] = {
    "relax.nn.softmax": _softmax,
    "relax.nn.layer_norm": _layer_norm,
    "relax.nn.rms_norm": _rms_norm,
    "relax.max": _reduction(np.max),
    "relax.mean": _reduction(np.mean),
    "relax.min": _reduction(np.min),
    "relax.sum": _reduction(np.sum),
}
