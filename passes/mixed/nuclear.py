"""Sensitivity by nuclear norms: errors of layers' outputs, weighed by what these carry."""

from collections.abc import Mapping

import numpy as np
import tvm

from ..graph.network import QUANTIZED_OPS
from ..quantized.layer_matrices import by_channel
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress
from ..quantized.read_annotated import read_annotated
from ..quantized.simulation import Simulation
from .sensitivity import INPUTS, PARTS, WEIGHTS


@single_threaded_blas
def nuclear_errors(
    module: tvm.IRModule,
    annotated: tvm.IRModule,
    images: Mapping[str, np.ndarray],
    *,
    scheme: str,
    activation_range: str = "unsigned",
    kept: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> dict[str, dict[str, float]]:
    """Of each layer the square error of its own output, times the nuclear norm of that output.

    The measure of Liu et al., Post-Training Quantization for Vision Transformer (arXiv 2106.14156), section 3.3, which
    takes one forward pass. Parameters and what is returned are those of `output_errors`; the norm is that of the matrix
    of channels and positions of all images.
    """
    problem = Problem.of(module, dict(images), scheme, activation_range, kept).at_once()
    sim = Simulation(problem, read_annotated(annotated, problem))
    net, layers = problem.net, set(problem.net.layers())
    found: dict[str, dict[str, float]] = {}
    for i in sim.walk():
        node = net.nodes[i]
        progress(i / len(net.nodes), f"weighing {node.name}")
        if node.op in QUANTIZED_OPS:
            output = sim.float(i)
            norm = _nuclear_norm(output)
            for part in PARTS if i in layers else PARTS[:1]:
                error = sim.alone(i, inputs=part == INPUTS, weights=part == WEIGHTS) - output
                found.setdefault(node.name, {})[part] = norm * float(np.square(error, dtype=np.float64).sum())
    return found


def _nuclear_norm(output: np.ndarray) -> float:
    """The sum of the singular values of (channels, images and positions), by the eigenvalues of the smaller product."""
    matrix = np.concatenate([*by_channel(output)], axis=1).astype(np.float64)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0)).sum())
