"""Read scales and quantized constants back from what `annotate` made."""

import numpy as np
import tvm
from tvm import relax

from ..graph.network import Network, Node
from ..graph.rewrite import array, operator_name
from .annotate import Scales
from .problem import Problem
from .quantizers import WIDE, stored_range

_PAIR = ("relax.quantize", "relax.dequantize")


def read_annotated(mod: tvm.IRModule, problem: Problem) -> Scales:
    """The scales of an annotated module, and its weights and biases as real numbers.

    The layers of the problem that read activations of 12 bits get that scheme.

    Parameters
    ----------
    problem : Problem
        Read from the canonical module that was annotated, with the same scheme and activation range.

    Raises
    ------
    ValueError
        Where `annotate` did not make the module from that one.
    """
    net, points = problem.net, problem.points
    constants: dict[relax.Var, tuple[np.ndarray, np.ndarray]] = {}
    ranges = [group.range for group in points.scale_groups]
    scales = Scales(np.zeros(len(points.scale_groups), np.float32), {}, ranges)
    node = sum(n.op == "input" for n in net.nodes)
    quantizing: dict[relax.Var, int] = {}  # the scale group of what `quantize` gives
    producer: dict[relax.Var, int | None] = {param: i for i, param in enumerate(mod["main"].params)}
    for binding in (binding for block in mod["main"].body.blocks for binding in block.bindings):
        value, name = binding.value, operator_name(binding.value)
        if name == "relax.quantize":
            quantized = _quantized(net, producer.get(value.args[0]))
            if quantized not in points.scale_group_of:
                raise ValueError(f"{binding.var.name} quantizes what calibration does not")
            group = quantizing[binding.var] = points.scale_group_of[quantized]
            scales.activations[group] = value.args[1].value.numpy().item()
            scales.ranges[group] = stored_range(str(value.attrs.out_dtype), value.args[2].value.numpy().item())
            producer[binding.var] = None
        elif name == "relax.clip" and value.args[0] in quantizing:
            group = quantizing[value.args[0]]
            scales.ranges[group] = scales.ranges[group].clipped(*(int(arg.value) for arg in value.args[1:]))
            producer[binding.var] = None
        elif name in _PAIR and (values := array(value.args[0])) is not None:
            constants[binding.var] = values, value.args[1].value.numpy()
        elif name in _PAIR or isinstance(value, relax.Var) or _leaves_integers(value):
            producer[binding.var] = None
        else:
            node = _skip_left_out(net, node, name)
            if node == len(net.nodes) or operator_name(net.nodes[node].expr) != name:
                raise ValueError(f"{binding.var.name} is not in the module that was calibrated")
            producer[binding.var] = node
            if net.nodes[node].op in ("conv2d", "dense", "bias_add"):
                _read_constant(scales, net.nodes[node], node, *constants[value.args[1]])
            node += 1
    for read, range_ in zip(points.scale_groups, scales.ranges, strict=True):
        if not range_.narrow:
            problem.schemes.update((i, WIDE) for i in read.consumers if i in problem.schemes)
    if any(left.op != "minimum" for left in net.nodes[node:]):
        raise ValueError("the annotated module has fewer operators than the one that was calibrated")
    return scales


def _quantized(net: Network, i: int | None) -> int | None:
    """The node itself, or the upper bounds of its channels, which `annotate` leaves out where the range ends before."""
    users = [] if i is None else net.users[i]
    return next((user for user in users if net.nodes[user].op == "minimum"), i)


def _skip_left_out(net: Network, node: int, name: str | None) -> int:
    """The next node that may be in the annotated module, where an operator of this name follows."""
    while node < len(net.nodes) and net.nodes[node].op == "minimum" and name != "relax.minimum":
        node += 1
    return node


def _read_constant(scales: Scales, node: Node, i: int, values: np.ndarray, scale: np.ndarray) -> None:
    if node.op == "bias_add":
        real = values.reshape(-1) * scale.astype(np.float64)
    else:
        scales.weights[i] = scale
        real = values * scale.reshape([-1 if a == (node.op == "dense") else 1 for a in range(values.ndim)])
    scales.constants[i] = real.astype(np.float32).reshape(node.constant.shape)


def _leaves_integers(value: relax.Expr) -> bool:
    """Whether it is a cast that `annotate` puts before an operator that is kept float: of float32 to itself."""
    return operator_name(value) == "relax.astype" and value.args[0].ty.dtype == value.ty.dtype
