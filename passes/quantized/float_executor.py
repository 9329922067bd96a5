r"""Evaluate the nodes of a canonical network on numpy arrays, for many images at once.

An activation of N images is one array (N, \*shape): the images stand in front of the shape in the model.
The same functions serve the float network and the simulated integer network (whole numbers in float32, or int8 for the
operators that only move or select values).
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import tvm
from numpy.lib.stride_tricks import sliding_window_view
from tvm import relax
from tvm_ffi import StructuralKey

from ..graph.network import Network, Node, substitute
from ..graph.pointwise import evaluate, number
from ..graph.resizing import resize
from ..graph.rewrite import array
from .parallel import map_threads

Value = Any  # numpy.ndarray (N, *shape), or a list of them for a tuple

_IMAGES = 8  # padded at a time in a convolution


class FloatExecutor:
    """Evaluates nodes; operators without a numpy form are compiled with TVM, once for each structure in a process."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self._mod = mod
        self._machines: dict[StructuralKey, relax.VirtualMachine] = {}

    def evaluate(self, node: Node, *inputs: Value) -> Value:
        r"""Result (N, \*shape) of a node that is not an input; for a tuple, a list of such arrays."""
        if node.computes in _NUMPY:
            return _NUMPY[node.computes](node, *inputs)
        if isinstance(node.expr, relax.Tuple):
            return list(inputs)
        if isinstance(node.expr, relax.TupleGetItem):
            return inputs[0][node.expr.index]
        return self._run_compiled(node, inputs)

    def must_compile(self, node: Node) -> bool:
        """Whether TVM has to compile a node's operator, which takes a moment."""
        return isinstance(node.expr, relax.Call) and node.op != "input" and node.computes not in _NUMPY

    def run(self, net: Network, inputs: dict[int, np.ndarray]) -> Iterator[tuple[int, Value]]:
        """Evaluate a whole network; yields each node with its result, and keeps a result until its last use."""
        last_use = net.last_uses()
        values: dict[int, Value] = {}
        for i, node in enumerate(net.nodes):
            values[i] = inputs[i] if node.op == "input" else self.evaluate(node, *(values[j] for j in node.inputs))
            yield i, values[i]
            for j in {i, *node.inputs}:
                if last_use[j] <= i:
                    del values[j]

    def _run_compiled(self, node: Node, operands: tuple[Value, ...]) -> Value:
        if (constant := array(node.expr)) is not None:
            return constant[None]
        inputs = list(dict(zip(node.inputs, operands, strict=True)).values())  # what it reads twice is one parameter
        run = self._machine(node)["main"]
        results = [run(*(_to_tvm(x, i) for x in inputs)) for i in range(_count(inputs))]
        if node.is_tensor:
            return np.stack([r.numpy() for r in results])
        return [np.stack([field.numpy() for field in fields]) for fields in zip(*results, strict=True)]

    def _machine(self, node: Node) -> relax.VirtualMachine:
        func = _as_function(node)
        key = StructuralKey(func)
        if key not in self._machines:
            mod = tvm.IRModule(self._mod.functions)
            mod["main"] = func
            self._machines[key] = _compiled(StructuralKey(relax.transform.DeadCodeElimination(["main"])(mod)))
        return self._machines[key]


@functools.lru_cache(maxsize=64)
def _compiled(mod: StructuralKey) -> relax.VirtualMachine:
    """One compilation serves all passes of a calibration, which evaluate the same operators one after the other."""
    return relax.VirtualMachine(tvm.compile(mod.key, "llvm"), tvm.cpu())


def sliding_windows(x: np.ndarray, node: Node) -> np.ndarray:
    """Windows that a conv2d node sees, as a view where it needs no padding.

    Parameters
    ----------
    x : (M, C, H, W)

    Returns
    -------
    numpy.ndarray (M, C, kernel height, kernel width, output height, output width)
    """
    attrs = node.expr.attrs
    (sy, sx), (dy, dx) = (tuple(map(int, a)) for a in (attrs.strides, attrs.dilation))
    kh, kw = node.constant.shape[2:]
    x = _pad_border(x, [int(p) for p in attrs.padding], 0)
    windows = sliding_window_view(x, ((kh - 1) * dy + 1, (kw - 1) * dx + 1), axis=(2, 3))
    return windows[:, :, ::sy, ::sx, ::dy, ::dx].transpose(0, 1, 4, 5, 2, 3)


def conv2d(node: Node, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Convolution of (N, batch, C, H, W) by the node's weight, or by another of its shape; float32."""
    weight = (node.constant if weight is None else weight).astype(np.float32, copy=False)
    groups = int(node.expr.attrs.groups)
    x = x.reshape(-1, *x.shape[-3:])
    out = np.empty((len(x), *node.shape[1:]), np.float32)
    convolve = _convolve_depthwise if weight.shape[1] == 1 else _convolve

    def some(start: int) -> None:
        windows = sliding_windows(x[start : start + _IMAGES].astype(np.float32, copy=False), node)
        for window, result in zip(windows, out[start : start + _IMAGES], strict=True):
            convolve(window, weight, groups, result)

    map_threads(some, range(0, len(x), _IMAGES))
    return out.reshape(-1, *node.shape)


def _convolve(windows: np.ndarray, weight: np.ndarray, groups: int, out: np.ndarray) -> None:
    columns = windows.reshape(groups, weight[0].size, -1)
    np.matmul(weight.reshape(groups, -1, weight[0].size), columns, out=out.reshape(groups, -1, columns.shape[2]))


def _convolve_depthwise(windows: np.ndarray, weight: np.ndarray, groups: int, out: np.ndarray) -> None:
    """Tap by tap: matrices of one row would be slow."""
    windows = np.repeat(windows, len(weight) // groups, axis=0) if len(weight) > groups else windows
    out[:] = 0
    for ky, kx in product(*map(range, weight.shape[2:])):
        out += windows[:, ky, kx] * weight[:, 0, ky, kx, None, None]


def dense(node: Node, x: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Product of (N, rows, K) by the node's weight (K, O), or by another of its shape; float32."""
    weight = node.constant if weight is None else weight
    return np.matmul(x.reshape(-1, x.shape[-1]).astype(np.float32, copy=False), weight.astype(np.float32)).reshape(
        len(x), *node.shape
    )


def _pool(node: Node, x: np.ndarray, fill: float, combine: Callable[..., np.ndarray]) -> np.ndarray:
    """`combine` over the taps of each window; ceil mode reads `fill` beyond the border."""
    attrs = node.expr.attrs
    (kh, kw), (sy, sx), (dy, dx) = (tuple(map(int, a)) for a in (attrs.pool_size, attrs.strides, attrs.dilation))
    top, left, bottom, right = (int(p) for p in attrs.padding)
    oh, ow = node.shape[2:]
    height, width = (oh - 1) * sy + (kh - 1) * dy + 1, (ow - 1) * sx + (kw - 1) * dx + 1
    bottom, right = max(0, height - top - x.shape[-2]), max(0, width - left - x.shape[-1])
    x = _pad_border(x, (top, left, bottom, right), fill)

    def tap(ky: int, kx: int) -> np.ndarray:
        y0, x0 = ky * dy, kx * dx
        return x[..., y0 : y0 + (oh - 1) * sy + 1 : sy, x0 : x0 + (ow - 1) * sx + 1 : sx]

    out = tap(0, 0).copy()
    for ky, kx in product(range(kh), range(kw)):
        if (ky, kx) != (0, 0):
            combine(out, tap(ky, kx), out=out)
    return out


def _max_pool2d(node: Node, x: np.ndarray) -> np.ndarray:
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return _pool(node, x, lowest, np.maximum)


def avg_pool_count(node: Node, x_shape: tuple[int, ...]) -> np.ndarray | int:
    """Number of elements that each output of an average (pool or mean) divides by."""
    if node.computes == "mean":
        return x_shape[-2] * x_shape[-1]
    return window_sizes(node.expr.attrs, x_shape[-2:], node.shape[-2:])


def window_sizes(attrs: tvm.ir.Attrs, extents: Sequence[int], out: Sequence[int]) -> np.ndarray:
    """int64 (OH, OW): the number that each window's sum of a pooling of (H, W) is divided by.

    Padding counts where the operator says so; what ceil mode reads beyond it does not.
    """
    sizes = []
    for axis in range(2):
        before, after = int(attrs.padding[axis]), int(attrs.padding[axis + 2])
        first = np.arange(out[axis])[:, None] * int(attrs.strides[axis]) - before
        elements = first + np.arange(int(attrs.pool_size[axis])) * int(attrs.dilation[axis])
        low, high = (-before, extents[axis] + after) if attrs.count_include_pad else (0, extents[axis])
        sizes.append(((elements >= low) & (elements < high)).sum(1))
    return np.outer(*sizes)


def window_sum(node: Node, x: np.ndarray) -> np.ndarray:
    """Sums that an average (pool or mean) divides."""
    if node.computes == "mean":
        return x.sum(axis=(-2, -1), keepdims=True, dtype=np.float32)
    return _pool(node, x.astype(np.float32, copy=False), 0, np.add)


def _average(node: Node, x: np.ndarray) -> np.ndarray:
    return window_sum(node, x) / np.float32(avg_pool_count(node, x.shape))


def _pad(node: Node, x: np.ndarray) -> np.ndarray:
    widths = [int(w) for w in node.expr.attrs.pad_width]
    return np.pad(x, [(0, 0), *zip(widths[::2], widths[1::2], strict=True)])


def _concat(node: Node, *inputs: np.ndarray) -> np.ndarray:
    axis, count = int(node.expr.attrs.axis), _count(list(inputs))
    inputs = tuple(np.broadcast_to(x, (count, *x.shape[1:])) for x in inputs)
    return np.concatenate(inputs, axis=axis + 1 if axis >= 0 else axis)


def _reshape(node: Node, x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), *node.shape)


def _permute_dims(node: Node, x: np.ndarray) -> np.ndarray:
    axes = node.expr.attrs.axes
    rank = x.ndim - 1
    order = range(rank)[::-1] if axes is None else [int(a) % rank for a in axes]
    return x.transpose(0, *(a + 1 for a in order))


def _strided_slice(node: Node, x: np.ndarray) -> np.ndarray:
    axes, begin, end, *strides = ([int(v.value) for v in field.fields] for field in node.expr.args[1:])
    index = [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        step = strides[0][i] if strides else 1
        stop = None if step < 0 and end[i] < 0 else end[i]
        index[axis % (x.ndim - 1) + 1] = slice(begin[i], stop, step)
    return x[tuple(index)]


def _clip(node: Node, x: np.ndarray) -> np.ndarray:
    return np.clip(x, np.float32(node.expr.args[1].value), np.float32(node.expr.args[2].value))


def _pointwise(node: Node, *inputs: np.ndarray) -> np.ndarray:
    arrays = iter(inputs)
    operands = [next(arrays) if isinstance(arg, relax.Var) else number(arg) for arg in node.expr.args]
    return evaluate(node.expr, *(operand for operand in operands if operand is not None))  # a clip's bounds are none


def _pad_border(x: np.ndarray, padding: tuple[int, ...] | list[int], fill: float) -> np.ndarray:
    top, left, bottom, right = padding
    if not any(padding):
        return x
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(top, bottom), (left, right)], constant_values=fill)


_NUMPY: dict[str, Callable[..., Value]] = {
    "conv2d": conv2d,
    "dense": dense,
    "bias_add": lambda node, x: x + node.constant,
    "add": lambda node, a, b: a + b,
    "multiply": lambda node, a, b: a * b,
    "matmul": lambda node, a, b: np.matmul(a, b),
    "prelu": lambda node, x: np.where(x < 0, x * node.constant.reshape(-1, *(1,) * (x.ndim - 3)), x),
    "relu": lambda node, x: np.maximum(x, 0),
    "clip": _clip,
    "pointwise": _pointwise,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _average,
    "mean": _average,
    "pad": _pad,
    "concat": _concat,
    "reshape": _reshape,
    "permute_dims": _permute_dims,
    "strided_slice": _strided_slice,
    "resize": lambda node, x: resize(node.expr, x),
}


def _count(inputs: list[Value]) -> int:
    """Number of images; what depends on no input of the network has one."""
    return max((len(x[0]) if isinstance(x, list) else len(x) for x in inputs), default=1)


def _to_tvm(x: Value, image: int) -> Any:
    if isinstance(x, list):
        return [_to_tvm(e, image) for e in x]
    return tvm.runtime.tensor(np.asarray(x[image if len(x) > 1 else 0], order="C"))  # that keeps a rank of 0


def _as_function(node: Node) -> relax.Function:
    """A function of the variables that a node's expression reads."""
    params: dict[relax.Var, relax.Var] = {}

    def parameter(var: relax.Var) -> relax.Var:
        return params.setdefault(var, relax.Var(f"x{len(params)}", var.ty))

    body = substitute(node.expr, parameter)
    builder = relax.BlockBuilder()
    with builder.function("main", list(params.values())):
        builder.emit_func_output(builder.emit(body))
    return builder.get()["main"]
