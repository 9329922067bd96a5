r"""Evaluate the nodes of a canonical network on numpy arrays, for many images at once.

An activation of N images is one array (N, \*shape): the images stand in front of the shape in the model.
The same functions serve the float network and the simulated integer network (whole numbers in float32, or int8 for the
operators that only move or select values).
"""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm_ffi import StructuralKey

from ..arithmetic.exact_product import exact_product
from ..graph.network import Network, Node, substitute
from ..graph.resizing import resize
from ..graph.rewrite import array
from .float_operators.convolution import conv2d, dense
from .float_operators.elementwise import constants, elementwise
from .float_operators.islands import island
from .float_operators.moving import concat, pad, permute_dims, reshape, strided_slice
from .float_operators.pooling import average, max_pool2d
from .parallel import over_elements, over_images

Value = Any  # numpy.ndarray (N, *shape), or a list of them for a tuple


class FloatExecutor:
    """Evaluates nodes; operators without a numpy form are compiled with TVM, once for each structure in a process."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self._mod = mod
        self._machines: dict[StructuralKey, relax.VirtualMachine] = {}
        self._lock = threading.Lock()  # a machine runs one call at a time

    def evaluate(self, node: Node, *inputs: Value, spare: np.ndarray | None = None) -> Value:
        r"""Result (N, \*shape) of a node that is not an input; for a tuple, a list of such arrays.

        `spare`: an input (or another array) that the result may take the place of.
        """
        if isinstance(node.expr, relax.Tuple):  # of outputs, all of which may be constants: these are no nodes
            return list(inputs)
        if not inputs and not self.must_compile(node) and array(node.expr) is None:
            raise ValueError(f"{node.name} computes a constant: apply passes.canonical_passes() first")
        if (compute := _WHOLE.get(node.computes)) is not None:
            return compute(node, *inputs)
        if (function := elementwise(node)) is not None:
            return over_elements(function, *inputs, *constants(node), spare=spare)
        if (compute := _NUMPY.get(node.computes) or island(node)) is not None:
            return over_images(functools.partial(compute, node), *inputs)
        if isinstance(node.expr, relax.TupleGetItem):
            return inputs[0][node.expr.index]
        return self._run_compiled(node, inputs)

    def must_compile(self, node: Node) -> bool:
        """Whether TVM has to compile a node's operator, which takes a moment."""
        return (
            isinstance(node.expr, relax.Call)
            and node.op != "input"
            and node.computes not in {*_NUMPY, *_WHOLE}
            and elementwise(node) is None
            and island(node) is None
        )

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
        with self._lock:
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


# Views, and what shares its work among threads by itself.
_WHOLE: dict[str, Callable[..., np.ndarray]] = {
    "conv2d": conv2d,
    "dense": dense,
    "reshape": reshape,
    "permute_dims": permute_dims,
    "strided_slice": strided_slice,
}
_NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "matmul": lambda node, a, b: exact_product(a, b).astype(np.float32),
    "max_pool2d": max_pool2d,
    "avg_pool2d": average,
    "mean": average,
    "pad": pad,
    "concat": concat,
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
