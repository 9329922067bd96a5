"""How much each layer's quantization alone moves the network's outputs: what types by cost are weighed by."""

from collections.abc import Mapping

import numpy as np
import tvm

from ..graph.network import QUANTIZED_OPS
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress
from ..quantized.read_annotated import read_annotated
from ..quantized.simulation import Simulation

_CHUNK = 8  # images at a time


PARTS = INPUTS, WEIGHTS = "inputs", "weights"


@single_threaded_blas
def output_errors(
    module: tvm.IRModule,
    annotated: tvm.IRModule,
    images: Mapping[str, np.ndarray],
    *,
    scheme: str,
    activation_range: str = "unsigned",
    kept: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> dict[str, dict[str, float]]:
    """What quantizing the weights of each layer, or what it reads, does to the network's outputs, by that alone.

    What moves all of an output channel alike does not count: the layer's bias makes up for it (see `correct_bias`).

    Parameters
    ----------
    module : tvm.IRModule
        The canonical module that was annotated.
    annotated : tvm.IRModule
    images : mapping of str to numpy.ndarray
        float32 (N, ...) without the network's batch axis.
    scheme, activation_range, kept
        As for the calibration: see `Calibration`.
    progress : callable (done: float from 0 to 1, message: str), optional

    Returns
    -------
    dict of str to dict of {"weights", "inputs"} to float
        By the layer's name the mean square error of the outputs, in parts of their mean square. What has no weights,
        as a sum, has inputs only.
    """
    problem = Problem.of(module, dict(images), scheme, activation_range, kept)
    scales, net = read_annotated(annotated, problem), problem.net
    layers = set(net.layers())
    found: dict[str, dict[str, list[float]]] = {}
    for start in range(0, problem.count, _CHUNK):
        sim = Simulation(problem.subset(slice(start, start + _CHUNK)), scales)
        moved: list[tuple[list[float], int, list[np.ndarray]]] = []
        for i in sim.walk():
            node = net.nodes[i]
            progress((start + _CHUNK * i / len(net.nodes)) / problem.count, f"weighing {node.name}")
            if node.op not in QUANTIZED_OPS:
                continue
            for part in PARTS if i in layers else PARTS[:1]:
                errors = found.setdefault(node.name, {}).setdefault(part, [])
                alone = sim.alone(i, inputs=part == INPUTS, weights=part == WEIGHTS)
                outputs = sim.float_outputs(i, _without_shift(alone, sim.float(i)))
                moved += [(errors, k, results) for k, results in outputs.items()]
        for errors, k, results in moved:
            expected = (pair[0] for pair in sim.outputs[k])
            errors.append(float(np.mean([*map(mean_square_error, expected, results)])))
    return {
        name: {part: float(np.mean(errors)) for part, errors in parts.items() if errors}
        for name, parts in found.items()
    }


def _without_shift(result: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Without what each channel of (N, batch, C, ...) is off on average."""
    axes = tuple(axis for axis in range(result.ndim) if axis != 2)
    return np.asarray(result - (result - expected).mean(axis=axes, keepdims=True), np.float32)


def mean_square_error(expected: np.ndarray, result: np.ndarray) -> float:
    """Of one output (N, ...), in parts of the mean square of each image, over the images."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (expected, result))
    return float((np.square(a - b).sum(axis=1) / np.maximum(np.square(a).sum(axis=1), _LEAST)).mean())


_LEAST = float(np.finfo(np.float32).tiny)
