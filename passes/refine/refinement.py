"""What all steps share that change an annotated module's constants by what its layers compute."""

from collections.abc import Callable, Mapping

import numpy as np
import tvm

from ..quantized.annotate import Scales, annotate
from ..quantized.closeness import mean_cosine
from ..quantized.layer_record import LayerRecord, Refined, Steps, layer_records
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress
from ..quantized.quantizers import check_scheme
from ..quantized.read_annotated import read_annotated
from ..quantized.simulation import Simulation


class Refinement:
    """Base of passes from an annotated module to a better one.

    Parameters
    ----------
    module : tvm.IRModule
        The canonical module that was annotated.
    images, scheme, activation_range, kept
        As for the calibration that did it: see `Calibration`.
    progress : callable (done: float from 0 to 1, message: str), optional

    Attributes
    ----------
    record : list of LayerRecord
        As that of `Calibration`, of which it has the annotated module's scales as the initial ones; the cosine is that
        of the layer's output with its bias.
    """

    def __init__(
        self,
        module: tvm.IRModule,
        images: dict[str, np.ndarray],
        *,
        scheme: str = "int7",
        activation_range: str = "unsigned",
        kept: Mapping[str, str] | None = None,
        progress: Progress = no_progress,
    ) -> None:
        check_scheme(scheme, activation_range)
        self.module, self.images, self.scheme, self.activation_range = module, images, scheme, activation_range
        self.kept, self.progress = kept, progress
        self.record: list[LayerRecord] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Annotate the canonical module anew, with other constants."""
        problem = Problem.of(self.module, self.images, self.scheme, self.activation_range, self.kept)
        start = read_annotated(mod, problem)
        scales = start.copy()
        refined = refine_scales(problem, scales, self.refine, self.progress)
        cosines = {i: (None, cosine) for i, cosine in refined.cosines.items()}
        self.record = layer_records(problem, start, scales, cosines, {}, refined.steps)
        return annotate(self.module, problem.net, problem.points, scales, problem.weight_limit)

    def refine(self, sim: Simulation, i: int) -> Steps:
        """Change the constants of a node: its float result is there, and what comes before it in both networks."""
        raise NotImplementedError


def refine_scales(
    problem: Problem, scales: Scales, refine: Callable[[Simulation, int], Steps], progress: Progress
) -> Refined:
    """Refine node by node, in place: see `Refinement.refine`. Of large images, with some of them: `Problem.at_once`.

    `refine` gives what is to be said of the steps in the record of the layer.
    """
    net, sim = problem.net, Simulation(problem.at_once(), scales)
    ends = {bias if (bias := net.bias_node(i)) is not None else i: i for i in net.layers()}
    cosines, steps = {}, {}

    def prepare(i: int) -> None:
        progress(i / len(net.nodes), f"refining {net.nodes[i].name}")
        if found := refine(sim, i):
            steps[net.nodes[i].name] = found

    for i in sim.walk(prepare):
        if i in ends:
            cosines[ends[i]] = mean_cosine(sim.unquantized(i), sim.float(i))
    return Refined(cosines, steps)
