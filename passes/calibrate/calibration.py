"""What all calibrations share: a pass that finds scales, annotates the module with them, and keeps a record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import tvm

from ..graph.step_notes import step_notes
from ..quantized.annotate import Scales, annotate
from ..quantized.layer_record import LayerRecord, Refined, Steps, layer_records
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress, part_of
from ..quantized.quantizers import check_scheme
from .seen_inputs import seen_inputs
from .widen_activations import activations_loss, groups_to_widen, loss

# Improves scales and constants in place.
Refine = Callable[[Problem, Scales, Progress], Refined]

_FOUND = 0.7  # of the time, where refinement follows
_ONCE, _CHOSEN = 0.4, 0.6  # of the rest, where all may be done again with wider activations
# Of what an output may lose, what the activations lose before refinement: it does not take back as much, or need not.
_HOPELESS, _HARMLESS = 4.0, 0.5


@dataclass
class Found:
    """What a method found.

    Attributes
    ----------
    start, scales : Scales
        Where it started, the scales by the largest magnitudes in most methods; and what it found.
    cosines : dict of int to (float, float)
        For each layer, where the method compares outputs, the cosines with these two.
    steps : dict of str to dict
        By the layer's name, what its record says of the steps of refinement.
    """

    start: Scales
    scales: Scales
    cosines: dict[int, tuple[float | None, float]] = field(default_factory=dict)
    steps: dict[str, Steps] = field(default_factory=dict)


class Calibration:
    """Base of the calibration passes, which say how scales are found.

    Parameters
    ----------
    images : dict of input name to array (N, ...)
        N calibration images, each of the input's shape but for a batch axis of 1.
    scheme : str
        "int4" (weights in [-7, 7]), "int5" ([-15, 15]), "int6" ([-31, 31]), "int7" ([-63, 63]), "int8" ([-127, 127]),
        "w4a8" (weights as of int4, activations as of int8) or "w8a12" (weights as of int8, activations of 12 bits).
    activation_range : str
        "unsigned": what can't be negative uses all values from 0, such as [0, 127] of int7; "symmetric": the weights'
        range ([-127, 127] for w4a8, [-2047, 2047] for w8a12).
    kept : dict of str to str, optional
        Layers (convolutions, dense layers, additions, products, averages) by name that have another scheme, for their
        weights and for what they read, or are left "float". What layers of several schemes read has the widest.
    min_cosine : float
        How near to float32 each output has to stay: where one does not, as few activations get 12 bits as that takes.
        Masks by their overlap: see `output_loss`.
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
        min_cosine: float = 0.0,
        refine: Refine | None = None,
        progress: Progress = no_progress,
    ) -> None:
        check_scheme(scheme, activation_range)
        self.images, self.scheme, self.activation_range, self.kept = images, scheme, activation_range, kept
        self.min_cosine = min_cosine
        self.refine, self.progress = refine, progress if refine is None else part_of(progress, 0.0, _FOUND)
        self._refining = part_of(progress, _FOUND, 1.0)
        self.record: list[LayerRecord] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Calibrate and annotate."""
        problem = Problem.of(mod, self.images, self.scheme, self.activation_range, self.kept)
        found = self._found(problem)
        self.progress(1.0, "calibrated")
        if self.min_cosine > 0:
            problem, refined = self._near_enough(problem, found)
        else:
            refined = self._refined(problem, found, self._refining)
        seen = {i: each.fields() for i, each in seen_inputs(problem, refined.scales).items()}
        notes = step_notes(mod)
        steps = {layer: notes.get(layer, {}) | refined.steps.get(layer, {}) for layer in {*notes, *refined.steps}}
        self.record = layer_records(problem, refined.start, refined.scales, refined.cosines, seen, steps)
        return annotate(mod, problem.net, problem.points, refined.scales, problem.weight_limit)

    def _near_enough(self, problem: Problem, found: Found) -> tuple[Problem, Found]:
        """Refined, with as few wider activations as `min_cosine` takes."""
        allowed = 1 - self.min_cosine
        of_activations = activations_loss(problem, found.scales)
        if of_activations <= _HOPELESS * allowed:
            refined = self._refined(problem, found, part_of(self._refining, 0.0, _ONCE))
            if of_activations <= _HARMLESS * allowed or loss(problem, refined.scales) <= allowed:
                return problem, refined
        self.progress = part_of(self._refining, _ONCE, _CHOSEN)
        problem = problem.widened(groups_to_widen(problem, found.scales, allowed, self.progress))
        return problem, self._refined(problem, self._found(problem), part_of(self._refining, _CHOSEN, 1.0))

    def _refined(self, problem: Problem, found: Found, progress: Progress) -> Found:
        if self.refine is None:
            return found
        scales = found.scales.copy()
        refined = self.refine(problem, scales, progress)
        befores = {i: before for i, (before, _) in found.cosines.items()}
        cosines = {i: (befores.get(i), after) for i, after in refined.cosines.items()}
        return Found(found.start, scales, cosines, refined.steps)

    def _found(self, problem: Problem) -> Found:
        """Scales that end within the upper bounds of channels, where all that images show does, too."""
        found = self.find_scales(problem)
        for g, group in enumerate(problem.points.scale_groups):
            nodes = (problem.net.nodes[i] for i in group.producers)
            ends = [float(node.constant.min()) / found.scales.ranges[g].hi for node in nodes if node.op == "minimum"]
            if ends and found.start.activations[g] <= min(ends) * (1 + 1e-6):
                found.scales.activations[g] = min(found.scales.activations[g], np.float32(min(ends)))
        return found

    def find_scales(self, problem: Problem) -> Found:
        """Find the scales of a network."""
        raise NotImplementedError
