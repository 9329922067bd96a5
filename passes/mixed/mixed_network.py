"""The network with a type for each layer, simulated without calibrating it anew: what types by cost are tried on."""

from collections.abc import Mapping

import numpy as np
import tvm

from ..quantized.annotate import Scales
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.quantizers import WEIGHT_LIMITS
from ..quantized.read_annotated import read_annotated
from ..quantized.simulation import Simulation
from ..refine.correct_bias import correct_one
from .layer_types import TYPES
from .sensitivity import mean_square_error


class MixedNetwork:
    """Put together of networks that were quantized to one type each.

    A layer's weights are as they are where all layers have that type, and so is the scale of what it reads. Biases do
    not fit then, as they make up for what the layers before do on average, so these are found again on the way.

    Parameters
    ----------
    module : tvm.IRModule
        The canonical module that was annotated.
    annotated : mapping of str to tvm.IRModule
        By type.
    images : mapping of str to numpy.ndarray
        float32 (N, ...) without the network's batch axis. Of large ones some will do: see `Problem.at_once`.
    activation_range, kept
        As for the calibrations: see `Calibration`.
    corrected : bool
        Whether these corrected biases.
    """

    def __init__(
        self,
        module: tvm.IRModule,
        annotated: Mapping[str, tvm.IRModule],
        images: Mapping[str, np.ndarray],
        *,
        activation_range: str = "unsigned",
        kept: Mapping[str, str] | None = None,
        corrected: bool = True,
    ) -> None:
        self._module, self._images, self._activation_range = module, dict(images), activation_range
        self._kept, self._corrected = dict(kept or {}), corrected
        self._scales = {scheme: read_annotated(mod, self._problem(scheme, {})) for scheme, mod in annotated.items()}

    @single_threaded_blas
    def error(self, scheme: str, types: Mapping[str, str]) -> float:
        """Mean square error of the network's outputs, in parts of their mean square.

        Parameters
        ----------
        scheme : str
            The type of layers that `types` does not name.
        types : mapping of str to str
            Types of layers. Those that read one tensor must have one type: see `units`.
        """
        problem = self._problem(scheme, types).at_once()
        sim = Simulation(problem, self._mixed(problem))

        def prepare(i: int) -> None:
            if self._corrected:
                correct_one(sim, i)

        for _ in sim.walk(prepare):
            pass
        pairs = [pair for i in problem.net.outputs for pair in sim.outputs[i]]
        return float(np.mean([mean_square_error(*pair) for pair in pairs]))

    def _problem(self, scheme: str, types: Mapping[str, str]) -> Problem:
        return Problem.of(self._module, self._images, scheme, self._activation_range, dict(types) | self._kept)

    def _mixed(self, problem: Problem) -> Scales:
        """Of each layer and each tensor what it has at its type."""
        net, points, found = problem.net, problem.points, self._scales
        usual = max(found, key=WEIGHT_LIMITS.__getitem__)
        known = {scheme: parts for scheme, parts in TYPES.items() if found.keys() >= {*parts}}
        parts = {
            i: known.get(scheme, (usual, usual)) for i, scheme in problem.schemes.items()
        }  # kept ones: all the same
        groups = [
            max((parts[i][1] for i in group.consumers if i in parts), key=WEIGHT_LIMITS.__getitem__, default=usual)
            for group in points.scale_groups
        ]
        mixed = Scales(
            np.array([found[scheme].activations[g] for g, scheme in enumerate(groups)], np.float32),
            {},
            [found[scheme].ranges[g] for g, scheme in enumerate(groups)],
        )
        for i in net.layers():
            scales = found[parts[i][0]]
            mixed.weights[i] = scales.weights[i]
            for node in (i, net.bias_node(i)):
                if node in scales.constants:
                    mixed.constants[node] = scales.constants[node]
        return mixed
