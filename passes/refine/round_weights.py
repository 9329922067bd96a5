"""Rounding weights by what they do to the layer's output, instead of to the nearest integer."""

from typing import Any

import numpy as np
import tvm

from eq_tvm.schedules.rowwise import rowwise_form

from ..graph.network import Node
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import ints
from ..quantized.annotate import Scales
from ..quantized.layer_matrices import grouped_weight
from ..quantized.layer_record import Refined, Steps
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress
from ..quantized.quantizers import max_abs_scale, smallest_weight_scale
from ..quantized.simulation import Simulation
from .correct_bias import mean_shift, sampled_errors
from .input_moments import image_shares, input_moments
from .optimal_rounding import search_rounding
from .output_errors import OutputErrors, steps_of
from .refinement import Refinement, refine_scales

_DOMINANT = 2.0**6  # times all other weights
_FRACTIONS = np.linspace(1.0, 0.3, 8)  # candidates for a channel's scale, in parts of what its largest weight needs


@relax_pass
class RoundWeights(Refinement):
    """Choose scales and integers of each layer's weights for the least square error of its output; correct its bias.

    Layer by layer, for the inputs that the quantized network has there: each weight's rounding error is made up for by
    the weights not yet rounded (Frantar et al., GPTQ, arXiv 2210.17323), and of some scales the one is taken that then
    leaves the least error. Weights of 7 bits are such that convolution along rows multiplies each layer it is for: see
    `row_sums`. The bias takes back what is left on average, that of the inputs' quantization too, as
    `CorrectBias` does; so the weights need to care for deviations only. Parameters are those of `Refinement`, and:

    Parameters
    ----------
    correct_bias : bool
        Whether to change biases.
    seed : int
        Of the sampled output positions.
    """

    def __init__(
        self,
        module: tvm.IRModule,
        images: dict[str, np.ndarray],
        *,
        correct_bias: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(module, images, **options)
        self.correct_bias, self.seed = correct_bias, seed

    def refine(self, sim: Simulation, i: int) -> Steps:
        """Change the weights of one layer, and its bias."""
        return _round_layer(sim, i, self.correct_bias, self.seed)


def round_weights(
    problem: Problem, scales: Scales, progress: Progress = no_progress, *, for_rows: bool = True
) -> Refined:
    """What `RoundWeights` does, as a `Calibration` takes it, to be done before the module is annotated.

    Without `for_rows`, convolution along rows is not cared for: what learns weights later would undo it.
    """
    return refine_scales(problem, scales, lambda sim, i: _round_layer(sim, i, True, 0, for_rows), progress)


def even_rows(problem: Problem, scales: Scales, _progress: Progress = no_progress) -> Refined:
    """What convolution along rows needs of weights as `round_weights` leaves them, in a moment, and for speed alone.

    Each row of three whose sum is odd loses one, or gains one, whatever that does to the output.
    """
    sim = Simulation(problem, scales)
    for i in problem.net.layers():
        if row_sums(sim, i) is not None:
            q = sim.quantized_weight(i).astype(np.float32)
            q[..., 0] -= np.where(q[..., 0] > 0, 1, -1) * (q.sum(axis=3) % 2)
            scales.constants[i] = q * scales.weights[i][:, None, None, None]
    return Refined({}, {})


def _round_layer(sim: Simulation, i: int, correct_bias: bool, seed: int, for_rows: bool = True) -> Steps:
    net, node = sim.net, sim.net.nodes[i]
    if node.op not in ("conv2d", "dense"):
        return {}
    bias_node, bias = net.bias_node(i), net.bias_of(i) if correct_bias else None
    scale, x = sim.scales.input_scale(net, sim.points, i), sim.quantized(node.inputs[0])
    seed += net.place(i)
    grams = input_moments(node, x, scale, sim.float(i), bias is not None, seed)
    weight = grouped_weight(node, node.constant)
    limit = sim.weight_limit(i)
    start = max_abs_scale(_largest(weight, np.concatenate([np.einsum("gkk->gk", gram) for gram in grams], 1)), limit)
    smallest = np.broadcast_to(smallest_weight_scale(net.bias_of(i), scale), start.size).reshape(start.shape)
    candidates = np.maximum(start[..., None] * _FRACTIONS, smallest[..., None]).astype(np.float32)
    sums = row_sums(sim, i) if for_rows else None
    q, scales = search_rounding(weight, candidates, grams, limit, sums)
    rounded = q * scales[..., None].astype(np.float64)
    sim.scales.weights[i] = scales.reshape(-1)
    sim.scales.constants[i] = _ungrouped(rounded, node).astype(np.float32)
    shift = None
    if bias_node is not None and bias is not None:
        shift = mean_shift(sim, bias_node, sampled_errors(sim, i, q, scales, seed), image_shares(sim.float(i)))
        constant = net.nodes[bias_node].constant
        sim.scales.constants[bias_node] = (bias + shift).astype(np.float32).reshape(constant.shape)
    return steps_of(OutputErrors(sim, i, seed), rounded, shift)


def row_sums(sim: Simulation, i: int) -> int | None:
    """Up to which sums of three weights convolution along rows multiplies a layer as it is: see `search_rounding`.

    None where it does with any weights, or with none.
    """
    node, limit, byte = sim.net.nodes[i], sim.weight_limit(i), rowwise_form.BYTE
    if node.op != "conv2d" or not 2 * limit <= byte < 3 * limit:
        return None
    attrs, range_ = node.expr.attrs, sim.scales.ranges[sim.points.scale_group_of[node.inputs[0]]]
    shape = node.constant.shape[3], int(attrs.strides[1]), ints(attrs.dilation), int(attrs.groups)
    return byte if shape == rowwise_form.SHAPE and range_.hi - range_.lo <= byte else None


def _largest(weight: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The largest magnitude of each output channel's weights (G, O, K), given how much each input (G, K) varies.

    Weights of inputs that never do may saturate, where they would leave nothing of all others.
    """
    whole = np.abs(weight).max(axis=2)
    read = np.abs(weight).max(axis=2, where=(squares > 0)[:, None], initial=0)
    return np.where((read > 0) & (whole > _DOMINANT * read), read, whole)


def _ungrouped(weight: np.ndarray, node: Node) -> np.ndarray:
    return weight[0].T if node.op == "dense" else weight.reshape(node.constant.shape)
