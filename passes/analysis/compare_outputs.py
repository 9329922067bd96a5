"""The outputs of the quantized network beside those of the float one, for many images in little memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import tvm

from ..quantized.annotate import Scales
from ..quantized.calibration_images import calibration_inputs
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.read_annotated import read_annotated
from ..quantized.simulation import Simulation
from .float_reference import FloatReference


def compare_outputs(
    module: tvm.IRModule,
    annotated: tvm.IRModule,
    batches: Iterable[dict[str, np.ndarray]],
    *,
    scheme: str = "int7",
    activation_range: str = "unsigned",
    kept: Mapping[str, str] | None = None,
    imported: tvm.IRModule | None = None,
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Simulate an annotated module, batch by batch.

    Parameters
    ----------
    module : tvm.IRModule
        The canonical module that was annotated.
    batches : iterable of dict of input name to array (N, ...)
        Images as calibration takes them.
    scheme, activation_range, kept
        As for the calibration that did it: see `Calibration`.
    imported : tvm.IRModule, optional
        The float network to compare with: that which `module` was prepared from. By default `module`.

    Yields
    ------
    list of (numpy.ndarray, numpy.ndarray)
        For each batch and output of the network, float32 (N, *shape): the float network's and the quantized one's.
    """
    problem = scales = None
    reference = FloatReference(imported) if imported is not None else None
    for batch in batches:
        if problem is None:
            problem = Problem.of(module, batch, scheme, activation_range, kept)
            scales = read_annotated(annotated, problem)
        problem = replace(problem, inputs=calibration_inputs(problem.net, batch))
        pairs = _outputs(problem, scales)
        yield pairs if reference is None else reference.beside(pairs, problem.inputs)


@single_threaded_blas
def _outputs(problem: Problem, scales: Scales) -> list[tuple[np.ndarray, np.ndarray]]:
    sim = Simulation(problem, scales)
    for _ in sim.walk():
        pass
    return [pair for i in problem.net.outputs for pair in sim.outputs[i]]
