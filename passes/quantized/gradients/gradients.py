"""Operators with what they pass back of a loss's gradient, for many images at once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.network import Node
from ...graph.resizing import resize
from ...graph.rewrite import transposed_axes
from ..float_executor import FloatExecutor
from ..float_operators.elementwise import constants
from ..float_operators.moving import concat, pad, permute_dims, reshape, strided_slice
from .pointwise import slopes
from .pooling import average, max_pool2d
from .products import conv2d, dense

# Of the gradient of a result, those of the inputs.
Pullback = Callable[[np.ndarray], tuple[np.ndarray, ...]]


def differentiable(node: Node, *, in_float: bool = False) -> bool:
    """Whether `pullback` knows a node's operator.

    Parameters
    ----------
    node : Node
    in_float : bool
        Of those that stay float functions of elements, too: nothing that reconstructs integers has a form of them.
    """
    if not node.is_tensor:
        return False
    functions = ("pointwise", "float") if in_float else ("pointwise",)
    return node.computes in _OPERATORS or (node.computes in functions and slopes(node) is not None)


def pullback(executor: FloatExecutor, node: Node, *inputs: np.ndarray) -> tuple[np.ndarray, Pullback]:
    r"""Result (N, \*shape) of a node, and what passes its gradient back to the inputs.

    Bounds pass nothing back where they bind, a maximum to the first of the largest. As fast as BLAS is, not exact as
    the executor. Where a layer's weight or bias changes, see `conv2d`, `dense` and `summed`.

    Raises
    ------
    ValueError
        Unless `differentiable(node, in_float=True)`.
    """
    if not differentiable(node, in_float=True):
        raise ValueError(f"{node.name} ({node.computes}) can't be differentiated")
    if node.computes not in _OPERATORS:
        return _pointwise(executor, node, *inputs)
    return _OPERATORS[node.computes](node, *inputs)


def summed(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of what was broadcast from a shape, which may have fewer axes."""
    extra = gradient.ndim - len(shape)
    axes = [axis for axis, n in enumerate(gradient.shape) if axis < extra or (shape[axis - extra] == 1 and n > 1)]
    return gradient.sum(axis=tuple(axes), keepdims=True).reshape(shape) if axes else gradient.reshape(shape)


def _layer(compute: Callable[..., Any]) -> Callable[..., tuple[np.ndarray, Pullback]]:
    def of(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
        result, back = compute(node, x, node.constant)
        return result, lambda gradient: (back(gradient)[0],)

    return of


def _add(node: Node, *inputs: np.ndarray) -> tuple[np.ndarray, Pullback]:
    operands = (*inputs, *constants(node))
    return np.add(*operands), lambda g: tuple(summed(g, x.shape) for x in inputs)


def _multiply(node: Node, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Pullback]:
    return a * b, lambda g: (summed(g * b, a.shape), summed(g * a, b.shape))


def _matmul(node: Node, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Pullback]:
    def back(g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return summed(g @ np.swapaxes(b, -1, -2), a.shape), summed(np.swapaxes(a, -1, -2) @ g, b.shape)

    return a @ b, back


def _relu(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    result = np.maximum(x, 0)
    return result, lambda g: (g * (result > 0),)


def _clip(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    low, high = (np.float32(arg.value) for arg in node.expr.args[1:])
    return np.clip(x, low, high), lambda g: (g * ((x > low) & (x < high)),)


def _minimum(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    return np.minimum(x, node.constant), lambda g: (g * (x < node.constant),)


def _prelu(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    (slope_below,) = constants(node)
    slope = np.where(x < 0, slope_below, np.float32(1))
    return x * slope, lambda g: (g * slope,)


def _pointwise(executor: FloatExecutor, node: Node, *inputs: np.ndarray) -> tuple[np.ndarray, Pullback]:
    of_operands = slopes(node)
    if of_operands is None:
        raise ValueError(f"{node.name} can't be differentiated")
    result = executor.evaluate(node, *inputs)
    return result, lambda g: tuple(
        summed(g * slope, x.shape) for slope, x in zip(of_operands(result, *inputs), inputs, strict=True)
    )


def _pad(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    before = [int(w) for w in node.expr.attrs.pad_width][::2]
    inside = (slice(None), *(slice(first, first + n) for first, n in zip(before, x.shape[1:], strict=True)))
    return pad(node, x), lambda g: (g[inside],)


def _concat(node: Node, *inputs: np.ndarray) -> tuple[np.ndarray, Pullback]:
    axis = int(node.expr.attrs.axis)
    axis = axis + 1 if axis >= 0 else axis
    ends = np.cumsum([x.shape[axis] for x in inputs])[:-1]

    def back(g: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(summed(part, x.shape) for part, x in zip(np.split(g, ends, axis), inputs, strict=True))

    return concat(node, *inputs), back


def _reshape(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    return reshape(node, x), lambda g: (g.reshape(x.shape),)


def _permute_dims(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    order = np.argsort([0, *(axis + 1 for axis in transposed_axes(node.expr))])
    return permute_dims(node, x), lambda g: (g.transpose(order),)


def _strided_slice(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    def back(g: np.ndarray) -> tuple[np.ndarray]:
        whole = np.zeros_like(x)
        strided_slice(node, whole)[...] = g  # a view
        return (whole,)

    return strided_slice(node, x), back


def _resize(node: Node, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
    """Rows and columns are averages of others: of one with each of them alone, the averages are read."""
    height, width = x.shape[-2:]
    row = resize(node.expr, np.broadcast_to(np.eye(height)[:, :, None], (height, height, width)))[..., 0]
    column = resize(node.expr, np.broadcast_to(np.eye(width)[:, None], (width, height, width)))[:, 0]
    rows, columns = row.astype(np.float32), column.astype(np.float32).T
    return resize(node.expr, x), lambda g: (rows @ g @ columns,)


_OPERATORS: dict[str, Callable[..., tuple[np.ndarray, Pullback]]] = {
    "add": _add,
    "avg_pool2d": average,
    "bias_add": _add,
    "clip": _clip,
    "concat": _concat,
    "conv2d": _layer(conv2d),
    "dense": _layer(dense),
    "matmul": _matmul,
    "max_pool2d": max_pool2d,
    "mean": average,
    "minimum": _minimum,
    "multiply": _multiply,
    "pad": _pad,
    "permute_dims": _permute_dims,
    "prelu": _prelu,
    "relu": _relu,
    "reshape": _reshape,
    "resize": _resize,
    "strided_slice": _strided_slice,
}
