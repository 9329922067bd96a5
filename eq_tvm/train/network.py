"""A canonical network as one that PyTorch trains, quantized where the integer program is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tvm import relax

from eq_tvm.errors import UserError, first_line
from eq_tvm.passes.graph.network import Network, Node
from eq_tvm.passes.graph.resizing import is_bilinear
from eq_tvm.passes.graph.rewrite import operator_name
from eq_tvm.passes.quantized.annotate import Scales, is_implied
from eq_tvm.passes.quantized.problem import Problem
from eq_tvm.train.exact import Value, exactly, half_up
from eq_tvm.train.integer_values import Raw, real
from eq_tvm.train.losses import NUMBERS, PROBABILITIES, SCORES
from eq_tvm.train.operators import Operator, constant_operands, operator_of, untrainable
from eq_tvm.train.places import places, reshaping
from eq_tvm.train.quantizers import LSQ

_AXIS = {"conv2d": 0, "dense": 1}  # of output channels, in the weights
_FINEST = 2.0**20  # steps of a bias: see `smallest_weight_scale`


class TrainedNetwork(nn.Module):
    """Nodes of a canonical network, with weights, biases and scales as parameters.

    Parameters
    ----------
    problem : Problem
        The network, and which of its tensors have which integers.
    scales : Scales
        What training starts from.

    Attributes
    ----------
    weights, biases : nn.ParameterDict
        Of each layer by its number in the network, real numbers.
    of_weights, of_activations : nn.ModuleDict
        The quantizer of each layer's weights, and of each scale group.
    quantized : bool
        Whether it computes in integers, or as the float network that training started from was.
    outputs : list of Node
        Without those that are constants.
    kinds : list of str
        What each of them is, for `distillation`: scores or probabilities of classes, or other numbers.
    at : int
        The node that was computed last, or failed.

    Raises
    ------
    UserError
        Nothing in it has weights to train, or PyTorch has no form of an operator here.
    """

    def __init__(self, problem: Problem, scales: Scales) -> None:
        super().__init__()
        self.problem, self.quantized = problem, True
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        self.of_weights, self.of_activations = nn.ModuleDict(), nn.ModuleDict()
        if not problem.net.layers():
            raise UserError(
                "there is nothing to train: the network has no convolution or dense layer, or --keep leaves all of "
                "them in float32"
            )
        for i in problem.net.layers():
            node, limit = problem.net.nodes[i], problem.weight_limit(i)
            self.weights[str(i)] = _parameter(node.constant)
            if (bias := problem.net.bias_of(i)) is not None:
                self.biases[str(i)] = _parameter(bias)
            self.of_weights[str(i)] = LSQ(per_channel(node, scales.weights[i]), -limit, limit)
        for g, range_ in enumerate(scales.ranges):
            scale = torch.tensor(scales.activations[g].item())
            self.of_activations[str(g)] = LSQ(scale, range_.lo, range_.hi)
        self._ranges, self.at = scales.ranges, 0
        self._group = {i: g for g, group in enumerate(problem.points.scale_groups) for i in group.producers}
        self._biased = {problem.net.bias_node(i): i for i in problem.net.layers()}
        self._results = _results(problem.net)
        self.outputs = [problem.net.nodes[i] for i in self._results]
        self.kinds = [_kind(node) for node in self.outputs]
        found = places(problem.net)
        self.operators: dict[int, Operator] = {
            i: reshaping(node, problem.net.nodes[node.inputs[0]], (found[node.inputs[0]], found[i]))
            if operator_name(node.expr) == "relax.reshape"
            else operator_of(node)
            for i, node in enumerate(problem.net.nodes)
            if node.op != "input" and not _is_result(problem.net, i)
        }
        self.constants = {
            i: constant_operands(problem.net.nodes[i])
            for i in self.operators
            if i not in self._biased and str(i) not in self.weights
        }
        self._last = problem.net.last_uses()
        self._averaged = {
            i: problem.points.scale_group_of[i]
            for i, node in enumerate(problem.net.nodes)
            if operator_name(node.expr) == "relax.image.resize2d"
            and is_bilinear(node.expr)
            and i in problem.points.scale_group_of
        }

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        r"""Of each input images (N, \*shape without the batch axis), of each output (N, ...)."""
        net = self.problem.net
        given = iter(inputs)
        raw: dict[int, Tensor] = {}
        values: dict[int, Value] = {}
        outputs: dict[int, Tensor] = {}
        for i, node in enumerate(net.nodes):
            self.at = i
            if node.op == "input":
                raw[i] = value = _channels_last(next(given))
            elif i not in self.operators:
                continue
            elif i in self._biased:
                value = values[node.inputs[0]]  # the layer has added it
            else:
                reads_raw = (i in self.problem.points.float_readers.get(j, ()) for j in node.inputs)
                found = (
                    raw[j] if is_raw else self._known(j, values[j])
                    for j, is_raw in zip(node.inputs, reads_raw, strict=True)
                )
                value = exactly(self, i, list(found)) if self.is_exact else self.compute(i, list(found))
            values[i] = self._quantized(i, value)
            if i in self._results:
                outputs[i] = raw[i] if i in raw else real(values[i])
            for j in (i, *node.inputs):
                if self._last[j] <= i:
                    values.pop(j, None)
        return [outputs[i] for i in self._results]

    @property
    def is_exact(self) -> bool:
        """Whether it computes the integer program as it is, since nothing is to be differentiated."""
        return self.quantized and not self.training

    def _known(self, i: int, value: Value) -> Value:
        """A value as those that read it know it."""
        if not (self.is_exact and isinstance(value, Tensor) and i in self.problem.points.scale_group_of):
            return value
        quantizer = self.of_activations[str(self.problem.points.scale_group_of[i])]
        scale = quantizer.scale.detach()
        return Raw((value / scale).round().double(), scale, quantizer.lo, quantizer.hi)

    def layer_weight(self, i: int) -> Tensor:
        """The weights that a layer computes with."""
        weight = self.weights[str(i)]
        return self.of_weights[str(i)](weight, self.least_scale(i)) if self.quantized else weight

    def least_scale(self, i: int) -> Tensor:
        """Of a layer's weights, with which its bias fits: section 2 of the integer program."""
        if str(i) not in self.biases:
            return torch.zeros(())
        least = self.biases[str(i)].detach().abs() / (self._input_scale(i).detach() * _FINEST)
        return per_channel(self.problem.net.nodes[i], least)

    def layer_bias(self, i: int) -> Tensor | None:
        """What it adds, in steps of its accumulator's scale."""
        bias = self.biases.get(str(i))
        if bias is None or not self.quantized:
            return bias
        scale = (self._input_scale(i) * self.weight_scale(i).reshape(-1)).detach()
        return bias + ((bias / scale).round() * scale - bias).detach()

    def weight_scale(self, i: int) -> Tensor:
        """Of a layer's output channels, in a shape that weights can be divided by."""
        return torch.maximum(self.of_weights[str(i)].scale, self.least_scale(i))

    def _input_scale(self, i: int) -> Tensor:
        group = self.problem.points.scale_group_of[self.problem.net.nodes[i].inputs[0]]
        return self.of_activations[str(group)].scale

    def compute(self, i: int, operands: Sequence[Tensor]) -> Tensor:
        """A node's value in float32, given those of what it reads."""
        if str(i) in self.weights:
            return self.operators[i](operands[0], self.layer_weight(i), self.layer_bias(i))
        if self.is_implied(i):
            return operands[0]
        left = iter(operands)
        return self.operators[i](*(next(left) if each is None else each for each in self.constants[i]))

    def is_implied(self, i: int) -> bool:
        """Whether it is a relu, or are bounds of channels, that quantizing the result to integers from 0 implies."""
        node, user = self.problem.net.nodes[i], self.problem.net.sole_user(i)
        if not self.quantized or node.op not in ("relu", "minimum"):
            return False
        if node.op == "relu" and user is not None and self.problem.net.nodes[user].op == "minimum":
            i = user
        if i not in self._group or self._of_group(i).lo != 0:
            return False
        return node.op == "relu" or is_implied(
            node, np.float32(self._of_group(i).scale.item()), self._ranges[self._group[i]]
        )

    def _of_group(self, i: int) -> LSQ:
        return self.of_activations[str(self._group[i])]

    def _quantized(self, i: int, value: Value) -> Value:
        if isinstance(value, Tensor) and self.quantized and i in self._averaged:
            return half_up(value, self.of_activations[str(self._averaged[i])].scale)
        if not self.quantized or i not in self._group:
            return value
        quantizer = self._of_group(i)
        if isinstance(value, Tensor):
            return quantizer(value)
        scale, lo, hi = quantizer.scale, quantizer.lo, quantizer.hi
        return value.steps(scale, max(-lo, hi)).round().clamp(lo, hi).float() * scale


def per_channel(node: Node, scale: np.ndarray | Tensor) -> Tensor:
    """One number (O,) for each output channel, in a shape that weights can be divided by."""
    scale = torch.as_tensor(scale)
    return scale.reshape([-1 if axis == _AXIS[node.op] else 1 for axis in range(node.constant.ndim)])


def _is_result(net: Network, i: int) -> bool:
    """Whether a node does no more than to gather the network's outputs."""
    return i in net.outputs and isinstance(net.nodes[i].expr, relax.Tuple)


def _results(net: Network) -> list[int]:
    """The nodes that compute the outputs, in their order."""
    found = [net.nodes[i].inputs if _is_result(net, i) else (i,) for i in net.outputs]
    return [i for nodes in found for i in nodes]


def _kind(node: Node) -> str:
    """What an output probably is: one row for an image is of scores, unless a function has bounded them."""
    if len(node.shape) != 2 or node.shape[1] == 1:
        return NUMBERS
    return _BOUNDED.get(operator_name(node.expr) or "", SCORES)


_BOUNDED = {"relax.nn.softmax": PROBABILITIES, "relax.sigmoid": NUMBERS, "relax.tanh": NUMBERS}


def check_same(network: TrainedNetwork, images: Sequence[np.ndarray]) -> None:
    """UserError where PyTorch does not compute what the float network does; names an output."""
    problem = network.problem
    net, inputs = problem.net, dict(zip(problem.inputs, images, strict=True))
    network.quantized = False
    results = _results(net)
    expected = {i: value for i, value in problem.executor.run(net, inputs) if i in results}
    try:
        with torch.no_grad():
            found = network(*(torch.from_numpy(x[:, 0]) for x in inputs.values()))
    except RuntimeError as e:  # of shapes: something mixes the axis of images with others
        what = f"several images at once don't fit: {first_line(e)}"
        raise untrainable(net.nodes[network.at], what) from e
    network.quantized = True
    for i, result in zip(results, found, strict=True):
        values, wanted = result.numpy().ravel(), expected[i].ravel()
        if values.size != wanted.size or not np.abs(values - wanted).max() <= _SAME * np.abs(wanted).max():
            raise UserError(f"output {net.nodes[i].name} can't be trained: PyTorch computes something else there")


_SAME = 1e-3


def _channels_last(x: Tensor) -> Tensor:
    """What convolutions compute fastest."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _parameter(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.ascontiguousarray(values, np.float32).copy()))
