"""A canonical Relax function as a plain network: numbered nodes with their producers and users."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax

from .pointwise import is_pointwise
from .resizing import is_exact
from .rewrite import array, operator_name, shape

# Relax operators that the calibration passes know by name; everything else is a float operator ("float").
_OPERATORS = {
    "relax.nn.relu": "relu",
    "relax.clip": "clip",
    "relax.nn.max_pool2d": "max_pool2d",
    "relax.nn.avg_pool2d": "avg_pool2d",
    "relax.reshape": "reshape",
    "relax.permute_dims": "permute_dims",
    "relax.strided_slice": "strided_slice",
}
_LAYOUTS = {"data_layout": "NCHW", "kernel_layout": "OIHW", "layout": "NCHW", "out_layout": "NCHW"}
PASS_THROUGH = {"max_pool2d", "concat", "reshape", "permute_dims", "strided_slice", "pad", "resize"}
ROW_OPS = {"softmax", "layer_norm", "rms_norm"}
IN_BETWEEN = {
    "multiply",
    "prelu",
    "offset",
} | ROW_OPS  # what is quantized where it both comes from and goes to integers
QUANTIZED_OPS = {"conv2d", "dense", "matmul", "add", "avg_pool2d", "mean"} | IN_BETWEEN
BOUNDS = {"relu", "clip"}
_NO_CONSTANT = np.empty(0, np.float32)


@dataclass
class Node:
    """One binding of the function (or one of its inputs).

    Attributes
    ----------
    name : str
        Name of the bound variable: the layer's name in messages and records.
    op : str
        "input", "conv2d", "dense", "bias_add", "add" (of two activations of one shape with channels),
        "multiply" (of two that integer operators make, of one shape, or one pixel for a whole image), "matmul" (of two
        activations), "prelu" (with a slope for each channel), "offset" (the addition of a constant tensor), "softmax",
        "layer_norm" and "rms_norm" (over the last axis), the last five of what integer operators make, "relu", "clip",
        "minimum" (with an upper bound for each channel, of a relu that nothing else reads), "max_pool2d",
        "avg_pool2d", "mean" (over height and width), "pad" (with zeros), "concat", "reshape", "permute_dims",
        "strided_slice", "resize" (nearest or bilinear), "pointwise" (a function of `source` alone), or "float" for any
        other expression, and for what is left float.
    inputs : tuple of int
        The nodes that produce the activations it reads, in order.
    expr : relax.Expr
        The bound expression (for an input, the parameter).
    shape : tuple of int
        Shape of the result, the model's batch axis included; empty for a tuple (see `is_tensor`).
    constant : numpy.ndarray
        Weight of a conv2d (OIHW) or dense (K, N), bias of a bias_add, slopes of a prelu (C,), bounds of a
        minimum; empty for others.
    source : int, optional
        Of a pointwise node: the node each of whose elements determines the one of this node at its place.
    left_float : str
        The operator, such as "conv2d", of a "float" node that could be quantized.
    """

    name: str
    op: str
    inputs: tuple[int, ...]
    expr: relax.Expr
    shape: tuple[int, ...]
    constant: np.ndarray = field(default_factory=lambda: _NO_CONSTANT)
    source: int | None = None
    left_float: str = ""

    @property
    def is_tensor(self) -> bool:
        """Whether the result is one tensor, not a tuple of them."""
        return isinstance(self.expr.ty, relax.TensorType)

    @property
    def computes(self) -> str:
        """The operator, whether it is left float or not."""
        return self.left_float or self.op


@dataclass
class Network:
    """Nodes in the order of the function; `var_node` maps each Relax variable to its node."""

    nodes: list[Node] = field(default_factory=list)
    users: list[list[int]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    var_node: dict[relax.Var, int] = field(default_factory=dict)

    def layers(self) -> list[int]:
        """The conv2d and dense nodes, in topological order."""
        return [i for i, node in enumerate(self.nodes) if node.op in ("conv2d", "dense")]

    def place(self, node: int) -> int:
        """Its number among those that do more than order axes: the same in NCHW and in NHWC, so samples are, too."""
        return sum(each.op != "permute_dims" for each in self.nodes[:node])

    def bias_of(self, layer: int) -> np.ndarray | None:
        """The bias of a conv2d or dense node as an array of shape (O,), or None."""
        node = self.bias_node(layer)
        return None if node is None else self.nodes[node].constant.reshape(-1)

    def bias_node(self, layer: int) -> int | None:
        """The bias_add node of a conv2d or dense node, if it has one."""
        user = self.sole_user(layer)
        return user if user is not None and self.nodes[user].op == "bias_add" else None

    def last_uses(self) -> list[int]:
        """For each node the last node that reads it (itself, if there is none)."""
        return [max(users, default=i) for i, users in enumerate(self.users)]

    def sole_user(self, node: int) -> int | None:
        """The node that alone reads `node`; None where there is another, or `node` is an output of the network."""
        return self.users[node][0] if len(self.users[node]) == 1 and node not in self.outputs else None


def read_network(mod: tvm.IRModule, left_float: Collection[str] = ()) -> Network:
    """Read `main` of a module in the canonical form; the nodes of the names in `left_float` are left float.

    Raises
    ------
    ValueError
        If `main` is not one dataflow block.
    """
    func = mod["main"]
    blocks = func.body.blocks
    if len(blocks) > 1:
        raise ValueError("calibration needs a module in the canonical form: main has more than one block")
    net = Network()
    for param in func.params:
        _append(net, Node(param.name, "input", (), param, _shape(param)), param)
    for binding in blocks[0].bindings if blocks else ():
        var, expr = binding.var, binding.value
        if isinstance(expr, relax.Var):  # an alias, as BlockBuilder.emit_output makes
            net.var_node[var] = net.var_node[expr]
        else:
            node = _read_node(net, var, expr)
            if node.name in left_float and node.op in QUANTIZED_OPS:
                node.op, node.left_float = "float", node.op
            _append(net, node, var)
    net.outputs = [net.var_node[var] for var in _variables(func.body.body)]
    _mark_biases(net)
    _mark_minima(net)
    _mark_pointwise(net, left_float)
    _leave_islands(net)
    return net


def substitute(expr: relax.Expr, replace: Callable[[relax.Var], relax.Expr]) -> relax.Expr:
    """`expr` with each variable in it replaced."""
    if isinstance(expr, relax.Var):
        return replace(expr)
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([substitute(x, replace) for x in expr.fields])
    if isinstance(expr, relax.TupleGetItem):
        return relax.TupleGetItem(substitute(expr.tuple_value, replace), expr.index)
    if isinstance(expr, relax.Call):
        return relax.Call(expr.op, [substitute(x, replace) for x in expr.args], expr.attrs, expr.ty_args)
    return expr


def _append(net: Network, node: Node, var: relax.Var) -> None:
    index = len(net.nodes)
    for i in dict.fromkeys(node.inputs):
        net.users[i].append(index)
    net.nodes.append(node)
    net.users.append([])
    net.var_node[var] = index


def _read_node(net: Network, var: relax.Var, expr: relax.Expr) -> Node:
    inputs = tuple(net.var_node[v] for v in _variables(expr))
    node = Node(var.name, "float", inputs, expr, _shape(var))
    name = operator_name(expr)
    if name is None or not node.shape or str(var.ty.dtype) != "float32" or not _is_canonical(expr):
        return node  # a tuple, or a tensor without axes: single numbers gain nothing from integers
    args, attrs = expr.args, expr.attrs
    constant = array(args[1]) if len(args) == 2 and len(inputs) == 1 else None
    if name in _OPERATORS:
        node.op = _OPERATORS[name]
    elif name == "relax.concat" and isinstance(args[0], relax.Tuple) and len(args[0].fields) == len(inputs):
        node.op = "concat"
    elif name == "relax.nn.conv2d" and constant is not None:
        node.op, node.constant = "conv2d", constant
    elif name == "relax.matmul":
        _read_matmul(node, constant)
    elif name in ("relax.add", "relax.nn.prelu", "relax.minimum") and constant is not None:
        node.constant = constant  # a bias if _mark_biases finds it behind a layer
    elif name == "relax.add" and len(inputs) == 2 and len(node.shape) > 1 and shape(args[0]) == shape(args[1]):
        node.op = "add"
    elif name == "relax.mean" and len(node.shape) == 4 and _axes(attrs.axis) == [2, 3] and attrs.keepdims:
        node.op = "mean"
    elif name == "relax.nn.pad" and attrs.pad_mode == "constant" and float(attrs.pad_value) == 0.0:
        node.op = "pad" if min(map(int, attrs.pad_width)) >= 0 else "float"
    elif name == "relax.image.resize2d" and is_exact(expr):
        node.op = "resize"
    return node


def _read_matmul(node: Node, constant: np.ndarray | None) -> None:
    """A dense layer, or the products of two activations that are as many matrices."""
    first, second = map(shape, node.expr.args)
    if constant is not None and constant.ndim == len(first) == 2:
        node.op, node.constant = "dense", constant
    elif len(node.inputs) == 2 and len(first) == len(second) >= 2 and first[:-2] == second[:-2]:
        node.op = "matmul"


def _is_canonical(call: relax.Call) -> bool:
    """Whether all layouts that it speaks of are the canonical ones."""
    return all(getattr(call.attrs, name, layout) == layout for name, layout in _LAYOUTS.items())


def _mark_biases(net: Network) -> None:
    """An addition of one constant per output channel to a layer that nothing else reads is the layer's bias."""
    for layer, node in enumerate(net.nodes):
        if node.computes not in ("conv2d", "dense"):
            continue
        user = net.sole_user(layer)
        bias_shape = (1, node.shape[1], 1, 1) if node.computes == "conv2d" else (node.shape[1],)
        if user is None or net.nodes[user].op != "float" or operator_name(net.nodes[user].expr) != "relax.add":
            continue
        if net.nodes[user].constant.shape == bias_shape:
            if node.left_float:
                net.nodes[user].left_float = "bias_add"
            else:
                net.nodes[user].op = "bias_add"


def _mark_minima(net: Network) -> None:
    """A minimum with one constant per channel of a relu that nothing else reads is its upper bound."""
    for i, node in enumerate(net.nodes):
        if node.op != "float" or operator_name(node.expr) != "relax.minimum" or len(node.shape) not in (2, 4):
            continue
        per_channel = node.constant.shape == (1, node.shape[1], *(1,) * (len(node.shape) - 2))
        if per_channel and net.nodes[node.inputs[0]].op == "relu" and net.sole_user(node.inputs[0]) == i:
            node.op = "minimum" if node.constant.min() >= 0 else "float"


def _mark_pointwise(net: Network, left_float: Collection[str]) -> None:
    """Find functions of one tensor that integer operators made, such as x * sigmoid(x), their sources, and products.

    A relu or clip that alone reads an operator's result belongs to that operator.
    """
    functions_of: list[set[int]] = []  # for each node those that it is a function of, itself included, if integer
    for i, node in enumerate(net.nodes):
        found = set.intersection(*(functions_of[j] for j in node.inputs)) if node.inputs else set()
        if node.op in {*BOUNDS, "minimum"} and found and net.nodes[node.inputs[0]].op != "pointwise":
            found = {i} if net.sole_user(node.inputs[0]) == i else {i, *found}
        elif found and _may_be_pointwise(node):
            node.op, node.source = "pointwise", min(found)
            found = {i, *found}
        elif (between := _in_between(net, i)) and all(functions_of[j] for j in node.inputs):
            if node.name in left_float:
                node.left_float, found = between, set()
            else:
                node.op, found = between, {i}
        elif node.op in QUANTIZED_OPS | {"bias_add"} or (
            node.op in PASS_THROUGH and all(functions_of[j] for j in node.inputs)
        ):
            found = {i}
        else:
            found = set()
        functions_of.append(found)


_CARRIERS = PASS_THROUGH | BOUNDS | IN_BETWEEN | {"minimum", "add", "pointwise", "mean", "avg_pool2d"}


def _leave_islands(net: Network) -> None:
    """What float operators alone feed stays float until a layer: integers would cost there, and pay nothing.

    Sums of squares under a root, for one, lost all that is small beside the largest.
    """
    fed_by_float: list[bool] = []
    for node in net.nodes:
        operands = bool(node.inputs) and all(fed_by_float[i] for i in node.inputs)
        if operands and node.op in QUANTIZED_OPS & _CARRIERS:
            node.op, node.left_float = "float", node.op
        elif operands and node.op == "pointwise":
            node.op, node.source = "float", None
        elif node.op == "float":
            operands = not node.left_float
        fed_by_float.append(operands and node.op in _CARRIERS | {"float"})


def _in_between(net: Network, i: int) -> str:
    """Which of `IN_BETWEEN` a node may be; empty for none."""
    node = net.nodes[i]
    name = operator_name(node.expr)
    if name == "relax.multiply" and len(node.inputs) == 2:
        return "multiply" if product_order(*map(shape, node.expr.args)) is not None else ""
    if name == "relax.nn.prelu" and len(node.constant) and node.expr.attrs.axis == 1 and len(node.shape) in (2, 4):
        return "prelu"  # of several slopes: else it is pointwise
    if name == "relax.add" and len(node.inputs) == 1:
        known = node.op == "float" and not node.left_float and is_offset(node.expr)
        return "offset" if known and (np.isfinite(node.constant).all() or read_by_softmax(net, i)) else ""
    kind = (name or "").removeprefix("relax.nn.")
    if kind in ROW_OPS and len(node.inputs) == 1 and is_of_rows(node.expr):
        return kind
    return ""


def is_offset(call: relax.Call) -> bool:
    """Whether an ``add`` is that of a constant of no more axes to a tensor of the result's shape.

    The constant is finite, or -infinity, as masks of attention are.
    """
    tensors = [arg for arg in call.args if array(arg) is None]
    constants = [c for arg in call.args if (c := array(arg)) is not None and c.dtype == np.float32]
    if len(tensors) != 1 or len(constants) != 1 or shape(tensors[0]) != shape(call):
        return False
    return bool((constants[0] < np.inf).all())


def read_by_softmax(net: Network, i: int) -> bool:
    """Whether softmax over the last axis alone reads a node, perhaps behind reshapes that leave this axis as it is."""
    users = net.users[i]
    return bool(users) and i not in net.outputs and all(_reads_rows(net, i, user) for user in users)


def _reads_rows(net: Network, i: int, user: int) -> bool:
    node = net.nodes[user]
    if operator_name(node.expr) == "relax.nn.softmax":
        return is_of_rows(node.expr)
    return node.op == "reshape" and node.shape[-1:] == net.nodes[i].shape[-1:] and read_by_softmax(net, user)


def is_of_rows(call: relax.Call) -> bool:
    """Whether one of `ROW_OPS` is one over the last axis, with constants that are finite."""
    rank, attrs = len(shape(call)), call.attrs
    axes = [attrs.axis] if call.op.name == "relax.nn.softmax" else attrs.axes
    constants = [array(arg) for arg in call.args[1:]]
    finite = all(c is not None and c.dtype == np.float32 and np.isfinite(c).all() for c in constants)
    return finite and [int(axis) % rank for axis in axes] == [rank - 1]


def product_order(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, int] | None:
    """The order of two operands by which the first one has the product's shape, if such products are known."""
    for order in ((0, 1), (1, 0)):
        whole, other = ((first, second)[i] for i in order)
        if whole == other or (len(whole) == 4 and other == (*whole[:2], 1, 1)):
            return order
    return None


def _may_be_pointwise(node: Node) -> bool:
    if node.op == "add" and node.inputs[0] == node.inputs[1]:
        return False
    candidate = node.op in ("float", "add", *BOUNDS) and not node.left_float
    return candidate and node.is_tensor and is_pointwise(node.expr)


def _variables(expr: relax.Expr) -> list[relax.Var]:
    """The variables that `expr` reads, in order, with repetitions."""
    if isinstance(expr, relax.Var):
        return [expr]
    if isinstance(expr, relax.Tuple):
        return [v for x in expr.fields for v in _variables(x)]
    if isinstance(expr, relax.TupleGetItem):
        return _variables(expr.tuple_value)
    if isinstance(expr, relax.Call):
        return [v for x in expr.args for v in _variables(x)]
    return []


def _axes(axis: list[int] | None) -> list[int]:
    return sorted(int(a) % 4 for a in axis or ())


def _shape(expr: relax.Expr) -> tuple[int, ...]:
    return shape(expr) if isinstance(expr.ty, relax.TensorType) else ()
