"""What all calibrations share: a pass that finds scales, annotates the module with them, and keeps a record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import tvm

from ..quantized.annotate import Scales, annotate
from ..quantized.layer_record import LayerRecord, layer_records
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress, part_of
from ..quantized.quantizers import check_scheme

# Improves scales and constants in place; returns the cosine of each layer's outputs with them.
Refine = Callable[[Problem, Scales, Progress], dict[int, float]]

_FOUND = 0.7  # of the time, where refinement follows


@dataclass
class Found:
    """What a method found.

    Attributes
    ----------
    start, scales : Scales
        Where it started, the scales by the largest magnitudes in most methods; and what it found.
    cosines : dict of int to (float, float)
        For each layer, where the method compares outputs, the cosines with these two.
    """

    start: Scales
    scales: Scales
    cosines: dict[int, tuple[float | None, float]] = field(default_factory=dict)


class Calibration:
    """Base of the calibration passes, which say how scales are found.

    Parameters
    ----------
    images : dict of input name to array (N, ...)
        N calibration images, each of the input's shape but for a batch axis of 1.
    scheme : str
        "int6" (weights in [-31, 31]), "int7" ([-63, 63]) or "int8" ([-127, 127]).
    activation_range : str
        "unsigned": what can't be negative uses [0, 63], [0, 127] or [0, 255]; "symmetric": the weights' range.
    kept : dict of str to str, optional
        Layers (convolutions, dense layers, additions, products, averages) by name that are kept at a wider type: "int8"
        widens the layer's weights and what it reads, "float" leaves it float.
    refine : Refine, optional
        What improves weights and biases before the module is annotated, such as `round_weights`.
    progress : callable (done: float from 0 to 1, message: str), optional

    Attributes
    ----------
    record : list of LayerRecord
        After a run, one for each convolution and dense layer that is quantized.

    Raises
    ------
    ValueError
        For unknown names, images that don't fit, or NaN or infinity in weights or activations (names the layer).
    """

    def __init__(
        self,
        images: dict[str, np.ndarray],
        *,
        scheme: str = "int7",
        activation_range: str = "unsigned",
        kept: Mapping[str, str] | None = None,
        refine: Refine | None = None,
        progress: Progress = no_progress,
    ) -> None:
        check_scheme(scheme, activation_range)
        self.images, self.scheme, self.activation_range, self.kept = images, scheme, activation_range, kept
        self.refine, self.progress = refine, progress if refine is None else part_of(progress, 0.0, _FOUND)
        self._refining = part_of(progress, _FOUND, 1.0)
        self.record: list[LayerRecord] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Calibrate and annotate."""
        problem = Problem.of(mod, self.images, self.scheme, self.activation_range, self.kept)
        found = self.find_scales(problem)
        self.progress(1.0, "calibrated")
        scales, cosines = found.scales, found.cosines
        if self.refine is not None:
            scales = scales.copy()
            refined = self.refine(problem, scales, self._refining)
            cosines = {i: (cosines[i][0] if i in cosines else None, refined[i]) for i in refined}
        self.record = layer_records(problem, found.start, scales, cosines)
        return annotate(mod, problem.net, problem.points, scales, problem.weight_limit)

    def find_scales(self, problem: Problem) -> Found:
        """Find the scales of a network."""
        raise NotImplementedError
