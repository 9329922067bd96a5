"""Cross-layer equalization: channels of one activation get ranges that one scale serves better."""

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from .calibration_images import calibration_inputs
from .float_executor import FloatExecutor
from .network import BOUNDS, Network, read_network, substitute
from .parallel import single_threaded_blas
from .quantizers import ACTIVATION_RANGES, WEIGHT_LIMITS, check_scheme
from .rewrite import emit_named

_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LARGEST_FACTOR = 64.0
_KEEPS_CHANNELS = {"max_pool2d", "avg_pool2d", "mean", "pad"}
_CHUNK = 8  # images evaluated at a time


@tvm.transform.module_pass(opt_level=0, name="EqualizeChannels")
class EqualizeChannels:
    """Scale channels between layers of a canonical module: what they compute stays the same, but for rounding.

    Each channel that a layer makes, behind a relu or clip from 0 at most, is multiplied by a factor, and what the
    layers that read it multiply it by is divided by that (Nagel et al., Data-Free Quantization, arXiv 1906.04721,
    section 4.1). As each output channel of weights has a scale of its own, it costs nothing where depthwise layers read
    the channel. Elsewhere it moves error from activations to weights: the factors are (R / r)^e for channels of the
    largest magnitude r, R being the largest r, with the exponent e for which the sum of both errors, estimated in
    closed form from what the images give, is least.

    A channel behind a clip is clipped at the largest magnitude that the images gave, or later.

    Parameters
    ----------
    images, scheme, activation_range
        As for the calibration that follows: see `Calibration`.

    Attributes
    ----------
    record : list of dict
        For each equalized activation: the `layer` that makes it, the `exponent`, and the estimated `noise`, in parts of
        what it was.
    """

    def __init__(self, images: dict[str, np.ndarray], *, scheme: str = "int7", activation_range: str = "unsigned"):
        check_scheme(scheme, activation_range)
        self.images, self.scheme, self.activation_range = images, scheme, activation_range
        self.record: list[dict] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace weights and biases."""
        net = read_network(mod)
        spots = [spot for i in net.layers() if (spot := _spot(net, i)) is not None]
        _measure(FloatExecutor(mod), net, calibration_inputs(net, self.images), spots)
        constants = {i: node.constant for i, node in enumerate(net.nodes)}
        limits = WEIGHT_LIMITS[self.scheme], ACTIVATION_RANGES[self.activation_range][1][self.scheme].hi
        self.record = []
        for spot in spots:
            noises = [_noise(net, constants, spot, spot.factors(e), limits) for e in _EXPONENTS]
            best = int(np.argmin(noises))
            if best:
                _scale(net, constants, spot, spot.factors(_EXPONENTS[best]))
                name, gain = net.nodes[spot.layer].name, noises[best] / noises[0]
                self.record.append({"layer": name, "exponent": _EXPONENTS[best], "noise": float(gain)})
        return _with_constants(mod, net, constants)


@dataclass
class _Spot:
    """An activation that can be equalized.

    Attributes
    ----------
    layer : int
        The conv2d or dense node that makes it.
    activation : int
        The relu or clip behind it.
    readers : list of (int, int)
        The layers that read it, and which of their input channels is its first.
    largest, squares, filled : numpy.ndarray (C,)
        Of each channel the largest value, the mean square, and the share of elements that are not 0.
    """

    layer: int
    activation: int
    readers: list[tuple[int, int]]
    largest: np.ndarray
    squares: np.ndarray
    filled: np.ndarray

    def factors(self, exponent: float) -> np.ndarray:
        ranges = np.maximum(self.largest, self.largest.max() / _LARGEST_FACTOR)
        return np.where(self.largest > 0, (ranges.max() / np.where(ranges > 0, ranges, 1)) ** exponent, 1.0)


def _spot(net: Network, layer: int) -> _Spot | None:
    node, user = net.nodes[layer], net.sole_user(layer)
    if user is not None and net.nodes[user].op == "bias_add":
        user = net.sole_user(user)
    if user is None or net.nodes[user].op not in BOUNDS or len(node.shape) != 4:
        return None
    bound = net.nodes[user]
    if bound.op == "clip" and float(bound.expr.args[1].value) != 0:
        return None
    readers = _readers(net, user, 0)
    return _Spot(layer, user, readers, *np.zeros((3, node.shape[1]))) if readers else None


def _readers(net: Network, i: int, first: int) -> list[tuple[int, int]] | None:
    """The convolutions that read a tensor, whose channels begin at `first`; None if something else does, too."""
    if i in net.outputs:
        return None
    found = []
    for user in net.users[i]:
        node = net.nodes[user]
        if node.op == "conv2d" and int(node.expr.attrs.groups) in (1, net.nodes[node.inputs[0]].shape[1]):
            found.append((user, first))
            continue
        offset = first
        if node.op == "concat" and int(node.expr.attrs.axis) % 4 == 1 and node.inputs.count(i) == 1:
            offset += sum(net.nodes[j].shape[1] for j in node.inputs[: node.inputs.index(i)])
        elif node.op not in _KEEPS_CHANNELS or len(node.shape) != 4 or node.shape[1] != net.nodes[i].shape[1]:
            return None
        behind = _readers(net, user, offset)
        if behind is None:
            return None
        found += behind
    return found


def _measure(executor: FloatExecutor, net: Network, inputs: dict[int, np.ndarray], spots: list[_Spot]) -> None:
    at = {spot.activation: spot for spot in spots}
    count = len(next(iter(inputs.values())))
    for start in range(0, count, _CHUNK):
        for i, value in executor.run(net, {k: x[start : start + _CHUNK] for k, x in inputs.items()}):
            if i in at:
                x = value.reshape(-1, *value.shape[-3:])
                spot, share = at[i], len(x) / count
                spot.largest = np.maximum(spot.largest, x.max(axis=(0, 2, 3)))
                spot.squares += share * np.square(x).mean(axis=(0, 2, 3))
                spot.filled += share * (x > 0).mean(axis=(0, 2, 3))


def _input_channels(net: Network, reader: int, first: int, count: int) -> tuple[slice, tuple[int, ...]]:
    """Where the weights of some input channels are (along which axis), and the shape that their factors take there."""
    node = net.nodes[reader]
    if int(node.expr.attrs.groups) == 1:
        return (slice(None), slice(first, first + count)), (1, count, 1, 1)
    per_channel = node.shape[1] // net.nodes[node.inputs[0]].shape[1]
    return slice(first * per_channel, (first + count) * per_channel), (count * per_channel, 1, 1, 1)


def _spread(net: Network, reader: int, factors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.repeat(factors, max(shape[:2]) // len(factors)).reshape(shape)


def _noise(net: Network, constants, spot: _Spot, factors: np.ndarray, limits: tuple[int, int]) -> float:
    """Mean square of the errors in all readers' outputs, by rounding evenly distributed inside steps."""
    weight_limit, activation_limit = limits
    step = np.max(spot.largest * factors) / activation_limit
    total = 0.0
    for reader, first in spot.readers:
        where, shape = _input_channels(net, reader, first, len(factors))
        weight = constants[reader][where]
        own = weight / _spread(net, reader, factors, shape)
        from_activations = step**2 * np.sum(np.square(own) * _spread(net, reader, spot.filled, shape))
        scaled = constants[reader].copy()
        scaled[where] = own
        steps = np.abs(scaled).max(axis=(1, 2, 3)) / weight_limit
        if isinstance(where, slice):
            steps = steps[where]
        squares = _spread(net, reader, spot.squares * factors**2, shape) * np.ones(weight.shape)
        total += from_activations + np.sum(np.square(steps)[:, None, None, None] * squares)
    return total


def _scale(net: Network, constants: dict[int, np.ndarray], spot: _Spot, factors: np.ndarray) -> None:
    weight = constants[spot.layer]
    constants[spot.layer] = (weight * factors.reshape(-1, 1, 1, 1)).astype(np.float32)
    user = net.sole_user(spot.layer)
    if net.nodes[user].op == "bias_add":
        constants[user] = (constants[user] * factors.reshape(1, -1, 1, 1)).astype(np.float32)
    for reader, first in spot.readers:
        where, shape = _input_channels(net, reader, first, len(factors))
        scaled = constants[reader].copy()
        scaled[where] /= _spread(net, reader, factors, shape).astype(np.float32)
        constants[reader] = scaled


def _with_constants(mod: tvm.IRModule, net: Network, constants: dict[int, np.ndarray]) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    current: dict[int, relax.Expr] = {}
    with builder.function("main", list(mod["main"].params)):
        with builder.dataflow():
            for i, node in enumerate(net.nodes):
                if node.op == "input":
                    current[i] = node.expr
                    continue
                expr = substitute(node.expr, lambda var: current[net.var_node[var]])
                if constants[i] is not node.constant:
                    expr = relax.Call(expr.op, [expr.args[0], relax.const(constants[i])], expr.attrs)
                current[i] = emit_named(builder, expr, node.name)
            outputs = [builder.emit_output(current[i]) for i in net.outputs]
        is_tuple = isinstance(mod["main"].body.body, relax.Tuple)
        builder.emit_func_output(relax.Tuple(outputs) if is_tuple else outputs[0])
    scaled = tvm.IRModule(mod.functions, attrs=mod.attrs)
    scaled["main"] = builder.get()["main"].with_attrs(mod["main"].attrs)
    return scaled
