"""A block of the quantized network as a function that can be differentiated: of weights, biases and scales."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..graph.network import PASS_THROUGH, Network
from ..quantized.float_executor import FloatExecutor
from ..quantized.gradients.gradients import Pullback, pullback, summed
from ..quantized.gradients.products import conv2d, dense
from ..quantized.gradients.straight_through import quantized
from ..quantized.quantization_points import QuantizationPoints
from ..quantized.quantizers import Range
from .blocks import Block

_LAYERS = {"conv2d": conv2d, "dense": dense}


@dataclass
class Constants:
    """What a block computes with, or the gradients of that: of weights and biases by node, of scales by group."""

    tensors: dict[int, np.ndarray] = field(default_factory=dict)
    scales: dict[int, np.float32] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockFunction:
    """The operators of a block.

    Attributes
    ----------
    ranges : list of Range
        Of the scale groups.
    is_network : bool
        Whether it is all of a network, whose outputs others read as quantized.
    """

    executor: FloatExecutor
    net: Network
    points: QuantizationPoints
    block: Block
    ranges: list[Range]
    is_network: bool = False

    def __call__(self, inputs: Mapping[int, np.ndarray], constants: Constants | None = None) -> np.ndarray:
        """Result of some images (N, ...), not quantized; of the float network without constants."""
        return self.traced(inputs, constants)[0][self.block.end]

    def gradients(
        self,
        inputs: Mapping[int, np.ndarray],
        constants: Constants,
        target: np.ndarray,
        weight: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, Constants]:
        """The sum of the weighted square errors of some images, and its gradients.

        Parameters
        ----------
        inputs : mapping of node to numpy.ndarray (N, ...)
        target : numpy.ndarray (N, ...)
            What the result should be.
        weight : numpy.ndarray (N,)
            Of each image.
        rng : numpy.random.Generator, optional
            Each activation is left unquantized with probability 1/2 (Wei et al., QDrop, arXiv 2203.05740).
        """
        results, back = self.traced(inputs, constants, rng)
        error = results[self.block.end] - target
        gradient = error * weight.reshape(-1, *(1,) * (error.ndim - 1)).astype(np.float32)
        loss = float(np.einsum("i,i->", error.reshape(-1), gradient.reshape(-1)))
        gradient *= 2
        return loss, back({self.block.end: gradient})

    def traced(
        self,
        inputs: Mapping[int, np.ndarray],
        constants: Constants | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[dict[int, np.ndarray], Callable[[dict[int, np.ndarray]], Constants]]:
        """Results of all nodes, and what makes of gradients of some of them those of the constants."""
        values, steps = dict(inputs), list[_Step]()

        def quantize(i: int) -> None:
            group = self.points.scale_group_of.get(i)
            if constants is None or group is None or (i == self.block.end and not self.is_network):
                return
            step = _Quantization(i, group, constants.scales[group], self.ranges[group])
            values[i] = step.run(values[i], rng)
            steps.append(step)

        for i in inputs:
            quantize(i)
        for i in self.block.nodes:
            step = _Operator(self, i)
            read = (inputs if i in self.points.float_readers.get(j, ()) else values for j in self.net.nodes[i].inputs)
            operands = (source[j] for source, j in zip(read, self.net.nodes[i].inputs, strict=True))
            values[i] = step.run(constants, *operands)
            steps.append(step)
            if self.net.nodes[i].op not in PASS_THROUGH:
                quantize(i)

        def back(flowing: dict[int, np.ndarray]) -> Constants:
            found = Constants()
            for step in reversed(steps):
                if step.node not in flowing:
                    continue
                own = step.back(flowing.pop(step.node))
                for j, passed in zip(step.inputs, own, strict=True):
                    flowing[j] = flowing[j] + passed if j in flowing else passed
                step.keep(found)
            return found

        return values, back


class _Step:
    """What was computed of `inputs` and is in the place of `node`: how its gradient goes back."""

    node: int
    inputs: tuple[int, ...]

    def back(self, gradient: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gradients of the inputs."""
        raise NotImplementedError

    def keep(self, found: Constants) -> None:
        """Note gradients of constants."""


class _Operator(_Step):
    def __init__(self, function: BlockFunction, i: int) -> None:
        self.node, self._node, self._executor = i, function.net.nodes[i], function.executor
        self.inputs = self._node.inputs
        self._pullback: Pullback | None = None
        self._of_constant: np.ndarray | None = None

    def run(self, constants: Constants | None, *inputs: np.ndarray) -> np.ndarray:
        constant = None if constants is None else constants.tensors.get(self.node)
        if self._node.op in _LAYERS:
            compute = _LAYERS[self._node.op]
            result, self._layer_back = compute(
                self._node, inputs[0], self._node.constant if constant is None else constant
            )
            return result
        if self._node.op == "bias_add":
            return inputs[0] + (self._node.constant if constant is None else constant)
        result, self._pullback = pullback(self._executor, self._node, *inputs)
        return result

    def back(self, gradient: np.ndarray) -> tuple[np.ndarray, ...]:
        if self._node.op in _LAYERS:
            of_input, self._of_constant = self._layer_back(gradient)
            return (of_input,)
        if self._node.op == "bias_add":
            self._of_constant = summed(gradient, self._node.constant.shape)
            return (gradient,)
        assert self._pullback is not None
        return self._pullback(gradient)

    def keep(self, found: Constants) -> None:
        if self._of_constant is not None:
            found.tensors[self.node] = self._of_constant


class _Quantization(_Step):
    """Rounding and saturation of an activation: what saturates passes nothing back."""

    def __init__(self, i: int, group: int, scale: np.float32, range_: Range) -> None:
        self.node, self.inputs, self._group, self._scale, self._range = i, (i,), group, scale, range_

    def run(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        left = None if rng is None else np.unpackbits(rng.integers(0, 256, -(-x.size // 8), np.uint8), count=x.size)
        result, self._missed, self._passed = quantized(x, self._scale, self._range.lo, self._range.hi, left)
        return result

    def back(self, gradient: np.ndarray) -> tuple[np.ndarray, ...]:
        self._of_scale = np.dot(gradient.reshape(-1), self._missed.reshape(-1))
        return (gradient * self._passed,)

    def keep(self, found: Constants) -> None:
        found.scales[self._group] = found.scales.get(self._group, np.float32(0)) + self._of_scale
