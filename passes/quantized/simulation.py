"""The quantized network in numpy, beside the float one: what the annotated module computes, for given scales."""

from collections.abc import Callable, Iterator

import numpy as np

from ..graph.network import PASS_THROUGH, QUANTIZED_OPS, Node
from .annotate import Scales
from .float_executor import Value
from .float_operators.convolution import conv2d, dense
from .parallel import over_elements
from .problem import Problem
from .quantizers import accumulator_scale, quantize, quantize_bias, quantize_weight


class Simulation:
    """Walks both networks in topological order; scales may be changed until the first use of what they quantize.

    Attributes
    ----------
    scales : Scales
        Current scales.
    outputs : dict of int to list of (numpy.ndarray, numpy.ndarray)
        The network's outputs as far as it was walked: of each output's node the results (N, ...) in the float and in
        the simulated network; several where it is a tuple.
    """

    def __init__(self, problem: Problem, scales: Scales):
        self.executor, self.net, self.points = problem.executor, problem.net, problem.points
        self.weight_limit, self.inputs, self.scales = problem.weight_limit, problem.inputs, scales
        self.outputs: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._last = self._last_uses()
        self._float: dict[int, Value] = {}
        self._simulated: dict[int, Value] = {}  # a producer's result stays float32 until something reads it

    def walk(self, prepare: Callable[[int], None] = lambda node: None) -> Iterator[int]:
        """Evaluate node by node; yields each evaluated node.

        `prepare(node)` is called when the float result of the node is there, its simulated one not yet.
        """
        self._float, self._simulated, self.outputs = {}, {}, {}
        for i, node in enumerate(self.net.nodes):
            if self._is_passed_through(i):  # evaluated when read
                continue
            is_input = node.op == "input"
            self._float[i] = self.inputs[i] if is_input else self._in_float(i)
            prepare(i)
            self._simulated[i] = self.inputs[i] if is_input else self._simulate(i)
            yield i
            for j in self._outputs_of(i):
                result = self.inputs[j] if j in self.inputs else self.dequantized(j)
                results = map(_as_list, (self.float(j), result))
                self.outputs[j] = list(zip(*results, strict=True))
            for j in [j for j in self._float if self._last[j] <= i]:
                del self._float[j], self._simulated[j]

    def float(self, i: int) -> np.ndarray:
        """Result (N, *shape) of a node in the float network."""
        return self._evaluate(i, self._float.__getitem__)

    def unquantized(self, i: int) -> np.ndarray:
        """Result of a node in the simulated network as it is before its quantization."""
        return self._evaluate(i, self._simulated.__getitem__)

    def quantized(self, i: int) -> np.ndarray:
        """Result of a quantized node: integers."""
        return self._evaluate(i, self._quantize_producer)

    def is_unread(self, i: int) -> bool:
        """Whether nothing has read a node's result as integers yet, so that its scale may still be changed."""
        return bool(self._simulated[i].dtype == np.float32)

    def alone(self, i: int, *, inputs: bool = True, weights: bool = True) -> np.ndarray:
        """Result of a quantized node, bias excluded, if it were the only one: of the float network's operands.

        With its inputs or its weights left float, on demand.
        """
        node = self.net.nodes[i]
        operands = [
            self._requantized(j) if inputs and j in self.points.scale_group_of else self.float(j) for j in node.inputs
        ]
        if node.op in _LAYERS:
            compute, _ = _LAYERS[node.op]
            weight = self.quantized_weight(i) * _per_channel(node, self.scales.weights[i]) if weights else node.constant
            return compute(node, operands[0], weight)
        return self.executor.evaluate(node, *operands)

    def float_outputs(self, i: int, result: np.ndarray) -> dict[int, list[np.ndarray]]:
        """The network's outputs in float if node i had that result; those that were there before it are left out."""
        values = self._float | {i: result}
        found = {}
        for j in range(i, len(self.net.nodes)):
            if self._is_passed_through(j):
                continue
            if j > i:
                operands = (self._evaluate(k, values.__getitem__) for k in self.net.nodes[j].inputs)
                values[j] = self.executor.evaluate(self.net.nodes[j], *operands)
            for k in self._outputs_of(j):
                found[k] = _as_list(self._evaluate(k, values.__getitem__))
            values = {k: value for k, value in values.items() if self._last[k] > j}
        return found

    def quantized_weight(self, i: int) -> np.ndarray:
        """Integer weights of a conv2d or dense node, int8."""
        _, axis = _LAYERS[self.net.nodes[i].op]
        return quantize_weight(self.scales.constant(self.net, i), self.scales.weights[i], self.weight_limit(i), axis)

    def producers_of(self, i: int) -> set[int]:
        """The nodes whose quantized results a quantized node's result consists of."""
        if not self._is_passed_through(i):
            return {i}
        return set().union(*map(self.producers_of, self.net.nodes[i].inputs))

    def _in_float(self, i: int) -> Value:
        node = self.net.nodes[i]
        return self.executor.evaluate(node, *map(self.float, node.inputs), spare=self._spare(i, self._float))

    def _simulate(self, i: int) -> np.ndarray:
        node = self.net.nodes[i]
        if node.op in _LAYERS:
            compute, _ = _LAYERS[node.op]
            weight, scale = self.quantized_weight(i).astype(np.float32), self._accumulator_scale(i)
            return compute(node, self.quantized(node.inputs[0]), weight, scale)
        if node.op == "bias_add":
            scale = self._accumulator_scale(node.inputs[0])
            bias = quantize_bias(self.scales.constant(self.net, i).reshape(-1), scale)
            real = _scaled(bias.reshape(node.constant.shape), scale)
            return over_elements(np.add, self._simulated[node.inputs[0]], real, spare=self._spare(i, self._simulated))
        as_float = {j for j in node.inputs if i in self.points.float_readers.get(j, ())}
        operands = {j: self.inputs[j] if j in as_float else self.dequantized(j) for j in node.inputs}
        own = [x for j, x in operands.items() if j in self.points.scale_group_of and j not in as_float]  # made for it
        spare = own[0] if own else self._spare(i, self._simulated)
        return self.executor.evaluate(node, *(operands[j] for j in node.inputs), spare=spare)

    def _spare(self, i: int, values: dict[int, Value]) -> np.ndarray | None:
        """A result whose place that of node i may take: only i reads it, and it is not to be quantized.

        What a quantized operator reads stays as it is while the walk is there: `alone` wants it.
        """
        if self.net.nodes[i].op in QUANTIZED_OPS:
            return None
        dead = [j for j in self.net.nodes[i].inputs if self._last[j] <= i and j not in self.points.scale_group_of]
        results = [*self._float.values(), *self._simulated.values(), *self.inputs.values()]
        kept = [x for pairs in self.outputs.values() for pair in pairs for x in pair]
        held = [*(x for result in results for x in _as_list(result)), *kept]
        for x in (values[j] for j in dead if j in values):
            own = isinstance(x, np.ndarray) and x.flags.owndata and x.flags.writeable
            if own and sum(np.may_share_memory(x, other) for other in held) == 1:  # with itself
                return x
        return None

    def dequantized(self, i: int) -> np.ndarray:
        """Result of a node in the simulated network as others read it."""
        if i not in self.points.scale_group_of:
            return self._simulated[i]
        scale = self.scales.activations[self.points.scale_group_of[i]]
        return over_elements(lambda q: q.astype(np.float32) * scale, self.quantized(i))

    def _requantized(self, i: int) -> np.ndarray:
        """The float network's result of a node as quantization would leave it."""
        group = self.points.scale_group_of[i]
        scale, range_ = self.scales.activations[group], self.scales.ranges[group]
        return over_elements(lambda x: quantize(x, scale, range_) * scale, self.float(i))

    def _quantize_producer(self, i: int) -> np.ndarray:
        value = self._simulated[i]
        if value.dtype == np.float32:
            group = self.points.scale_group_of[i]
            scale, range_ = self.scales.activations[group], self.scales.ranges[group]
            self._simulated[i] = value = over_elements(lambda x: quantize(x, scale, range_), value)
        return value

    def _evaluate(self, i: int, result: Callable[[int], Value]) -> Value:
        if not self._is_passed_through(i):
            return result(i)
        node = self.net.nodes[i]
        return self.executor.evaluate(node, *(self._evaluate(j, result) for j in node.inputs))

    def _is_passed_through(self, i: int) -> bool:
        return i in self.points.scale_group_of and self.net.nodes[i].op in PASS_THROUGH

    def _accumulator_scale(self, layer: int) -> np.ndarray:
        return accumulator_scale(self.scales.input_scale(self.net, self.points, layer), self.scales.weights[layer])

    def _outputs_of(self, i: int) -> list[int]:
        """The network's outputs that are there with the result of node i."""
        return [j for j in dict.fromkeys(self.net.outputs) if max(self.producers_of(j)) == i]

    def _last_uses(self) -> list[int]:
        """The last node that reads each one, directly or through pass-through nodes."""
        last = self.net.last_uses()
        for i in reversed(range(len(last))):
            if self._is_passed_through(i):
                for j in self.net.nodes[i].inputs:
                    last[j] = max(last[j], last[i])
        return last


_LAYERS = {"conv2d": (conv2d, 0), "dense": (dense, 1)}  # what computes them, and the axis of their output channels


def _per_channel(node: Node, scale: np.ndarray) -> np.ndarray:
    return scale if node.op == "dense" else scale[:, None, None, None]


def _as_list(result: Value) -> list[np.ndarray]:
    return result if isinstance(result, list) else [result]


def _scaled(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Accumulators (..., O, H, W) or (..., O) times one scale (O,) per channel, in float32."""
    return values.astype(np.float32, copy=False) * (scale if values.ndim < 4 else scale[:, None, None])
