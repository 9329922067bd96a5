"""Bias correction: what quantization shifts on average is taken back."""

from collections.abc import Iterable

import numpy as np

from ..arithmetic.exact_product import sums_of_integers
from ..graph.relax_pass import relax_pass
from ..quantized.annotate import Scales
from ..quantized.layer_matrices import by_channel, columns, output_columns, positions
from ..quantized.layer_record import Refined, Steps
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress
from ..quantized.quantizers import accumulator_scale
from ..quantized.simulation import Simulation
from .activation_slopes import ActivationSlopes
from .input_moments import image_shares
from .refinement import Refinement, refine_scales

_POSITIONS = 256  # sampled in an image
_LEAST = 0.1  # that a position counts: the quantized output may be where the function is steeper


@relax_pass
class CorrectBias(Refinement):
    """Change each bias by the mean difference between the layer's float and quantized outputs, per channel.

    Layer by layer, with the layers before it corrected (Nagel et al., Data-Free Quantization, arXiv 1906.04721, section
    4.2 and appendix D, the empirical form). Positions count by the slope of the function behind the layer, images by
    `image_shares`: see `mean_shift`. Parameters are those of `Refinement`.
    """

    def refine(self, sim: Simulation, i: int) -> Steps:
        """Change one bias."""
        return correct_one(sim, i)


def correct_bias(problem: Problem, scales: Scales, progress: Progress = no_progress) -> Refined:
    """What `CorrectBias` does, as a `Calibration` takes it, to be done before the module is annotated."""
    return refine_scales(problem, scales, correct_one, progress)


def correct_one(sim: Simulation, i: int) -> Steps:
    """Change the bias of a node, if it adds one, in the simulation's scales: it is about to be simulated."""
    node = sim.net.nodes[i]
    if node.op == "bias_add":
        layer = node.inputs[0]
        wanted = sim.float(i) - node.constant  # the layer's own result is there no more
        outputs = by_channel(wanted)
        errors = outputs - by_channel(sim.unquantized(layer))
        shift = mean_shift(sim, i, zip(outputs, errors, strict=True), image_shares(wanted))
        sim.scales.constants[i] = node.constant + shift.reshape(node.constant.shape)
    return {}


def mean_shift(
    sim: Simulation, bias: int, found: Iterable[tuple[np.ndarray, np.ndarray]], shares: np.ndarray
) -> np.ndarray:
    """What a bias should be changed by: the mean error where an error matters, for each channel.

    Behind relu, errors of what is far below 0 change nothing, and those of values that saturate there are large: all
    other values would be shifted for them. So positions count by the slope that the function behind the layer has at
    the float output.

    Parameters
    ----------
    sim : Simulation
    bias : int
        The bias_add node.
    found : iterable of (numpy.ndarray, numpy.ndarray)
        Of each image, at some positions, the float outputs without bias and what the quantized ones miss of them, (O,
        P) each.
    shares : numpy.ndarray (N,)
        How much each image counts.

    Returns
    -------
    numpy.ndarray (O,) float32
    """
    constant = sim.scales.constant(sim.net, bias).reshape(-1, 1)
    outputs, errors = zip(*found, strict=True)
    slopes = ActivationSlopes(sim.executor, sim.net, bias)(np.stack(outputs) + constant)
    weights = (_LEAST + (1 - _LEAST) * slopes) * shares[:, None, None].astype(np.float32)
    missed = np.einsum("iop,iop->o", weights, np.stack(errors), dtype=np.float64)
    return (missed / weights.sum(axis=(0, 2))).astype(np.float32)


def sampled_errors(
    sim: Simulation, layer: int, weight: np.ndarray, scale: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What `mean_shift` takes, for integer weights (G, O / G, K) of a layer and their scales (G, O / G).

    At some positions of each image.
    """
    node, net = sim.net.nodes[layer], sim.net
    x, output = sim.quantized(node.inputs[0]), sim.float(layer)
    scales = accumulator_scale(sim.scales.input_scale(net, sim.points, layer), scale)[..., None]
    greatest = float(np.abs(weight, dtype=np.float64).sum(axis=2).max()) * max(float(x.max()), -float(x.min()))
    count = positions(node)
    rng = np.random.default_rng(seed)
    at = [slice(None) if count <= _POSITIONS else rng.choice(count, _POSITIONS, replace=False) for _ in x]

    def of_image(of: tuple[np.ndarray, np.ndarray, np.ndarray | slice]) -> tuple[np.ndarray, np.ndarray]:
        inputs, outputs, some = of
        wanted = output_columns(node, outputs, some)
        missed = wanted - (sums_of_integers(weight, columns(node, inputs, some), greatest) * scales).astype(np.float32)
        return wanted.reshape(node.shape[1], -1), missed.reshape(node.shape[1], -1)

    return map_threads(of_image, list(zip(x, output, at, strict=True)))
