"""What all steps share that change an annotated module's constants by what its layers compute."""

from collections.abc import Mapping

import numpy as np
import tvm

from .annotate import annotate
from .calibration import Problem, Progress, layer_record
from .parallel import single_threaded_blas
from .quantizers import check_scheme
from .read_annotated import read_annotated
from .scale_search import mean_cosine
from .simulation import Simulation


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
    record : list of dict
        As that of `Calibration`; also the mean cosine between float and quantized outputs of the layer, bias included.
    """

    def __init__(
        self,
        module: tvm.IRModule,
        images: dict[str, np.ndarray],
        *,
        scheme: str = "int7",
        activation_range: str = "unsigned",
        kept: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ):
        check_scheme(scheme, activation_range)
        self.module, self.images, self.scheme, self.activation_range = module, images, scheme, activation_range
        self.kept, self.progress = kept, progress or (lambda done, message: None)
        self.record: list[dict] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Annotate the canonical module anew, with other constants."""
        problem = Problem.of(self.module, self.images, self.scheme, self.activation_range, self.kept)
        net, sim = problem.net, Simulation(problem, read_annotated(mod, problem))
        ends = {i if net.bias_of(i) is None else net.sole_user(i): i for i in net.layers()}
        cosines = {}
        for i in sim.walk(lambda i: self.refine(sim, i)):
            self.progress(i / len(net.nodes), f"{type(self).__name__}: {net.nodes[i].name}")
            if i in ends:
                cosines[ends[i]] = mean_cosine(sim.unquantized(i), sim.float(i))
        found = {i: {"cosine_after": cosine} for i, cosine in cosines.items()}
        self.record = layer_record(problem, sim.scales, found)
        return annotate(self.module, net, problem.points, sim.scales, problem.weight_limit)

    def refine(self, sim: Simulation, i: int) -> None:
        """Change the constants of a node: its float result is there, and what comes before it in both networks."""
        raise NotImplementedError
