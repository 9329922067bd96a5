"""Rounding weights by what they do to the layer's output, instead of to the nearest integer."""

import numpy as np
import tvm

from .layer_samples import grouped_weight, input_moments
from .optimal_rounding import round_weights
from .refinement import Refinement
from .simulation import Simulation


@tvm.transform.module_pass(opt_level=0, name="RoundWeights")
class RoundWeights(Refinement):
    """Choose the integers of each layer's weights for the least square error of its output, and correct its bias.

    Layer by layer, for the inputs that the quantized network has there: each weight's rounding error is made up for by
    the weights not yet rounded (Frantar et al., GPTQ, arXiv 2210.17323). The bias takes back what is left on average,
    that of the inputs' quantization too, as `CorrectBias` does; so the weights need to care for deviations only. Images
    count by `image_shares`. Parameters are those of `Refinement`, and:

    Parameters
    ----------
    correct_bias : bool
        Whether to change biases.
    seed : int
        Of the sampled output positions.
    """

    def __init__(self, module, images, *, correct_bias: bool = True, seed: int = 0, **options):
        super().__init__(module, images, **options)
        self.correct_bias, self.seed = correct_bias, seed

    def refine(self, sim: Simulation, i: int) -> None:
        """Change the weights of one layer, and its bias."""
        net, node = sim.net, sim.net.nodes[i]
        if node.op not in ("conv2d", "dense"):
            return
        user, bias = net.sole_user(i), net.bias_of(i) if self.correct_bias else None
        scale = sim.scales.input_scale(net, sim.points, i)
        moments = input_moments(node, sim.quantized(node.inputs[0]), scale, sim.float(i), self.seed + i)
        if bias is not None:
            moments = moments.centered()
        weight = grouped_weight(node, node.constant)
        scales = sim.scales.weights[i].reshape(weight.shape[:2])
        rounded = round_weights(weight, scales, moments.gram, sim.weight_limit(i)) * scales[..., None]
        sim.scales.constants[i] = _ungrouped(rounded, node).astype(np.float32)
        if bias is not None:
            shift = moments.output - np.einsum("gok,gk->go", rounded, moments.input)
            constant = net.nodes[user].constant
            sim.scales.constants[user] = (bias + shift.reshape(-1)).astype(np.float32).reshape(constant.shape)


def _ungrouped(weight: np.ndarray, node) -> np.ndarray:
    return weight[0].T if node.op == "dense" else weight.reshape(node.constant.shape)
