"""Calibration by the loss of the whole network: all scales together."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np

from ..calibrate.calibration import Found
from ..calibrate.histogram_calibration import HistogramCalibration
from ..calibrate.minmax_calibrate import unclipped_scales
from ..calibrate.norm_scales import norm_scales
from ..calibrate.tensor_statistics import Histogram
from ..graph.relax_pass import relax_pass
from ..quantized.annotate import Scales
from ..quantized.calibration_images import work
from ..quantized.problem import Problem
from ..quantized.progress import Progress, part_of
from ..refine.correct_bias import correct_bias
from .clips import Clips
from .descent import Descent, can_descend
from .output_divergence import Measure
from .powell import powell, vertex
from .trials import Trials

_NORMS = tuple(np.linspace(2, 4, 10).tolist())

_STEP = 0.2  # the first one of a line search, of the logarithm of a factor
_EVALUATIONS = 8  # in a line search
_STEPS = 160  # of the descent
_WORK = 1e11  # elements computed in an iteration, see `work`
_FEWEST = 4  # images to search with
_COUNTED, _STARTED = 0.1, 0.2  # of the time


@relax_pass
class LAPQCalibrate(HistogramCalibration):
    """Annotate a canonical module with the scales that together change the network's outputs least.

    As Nahshan et al., Loss Aware Post-training Quantization (arXiv 1911.07190): scales by p-norms of each tensor's
    error for some p, the vertex of a parabola through the network's losses, from there Powell's method over all scales
    jointly, one factor for each layer's weights and each activation; then biases are corrected. Other than theirs, the
    loss needs no labels (see `OutputDivergence`), and half of the images take no part in the search: they judge what
    each iteration has found.

    Where refinement follows, it finds scales of weights of its own. So a cheaper search has to do: along the gradients
    of all scales, where each operator has one.

    Parameters, record and errors are those of `Calibration`, and:

    Parameters
    ----------
    norms : sequence of float, optional
        The p to start from; by default ten from 2 to 4.
    iterations : int
        Of the search; 0: only start.
    search : {"powell", "gradients"}, optional
        By default as said.
    correct_bias : bool
        Where no refinement follows.
    measure : {"cosine", "entropy"}
        Of the loss.
    """

    def __init__(
        self,
        images: dict[str, np.ndarray],
        *,
        norms: Sequence[float] | None = None,
        iterations: int = 2,
        search: Literal["powell", "gradients"] | None = None,
        correct_bias: bool = True,
        measure: Measure = "cosine",
        **options: Any,
    ) -> None:
        super().__init__(images, **options)
        self.norms = _NORMS if norms is None else norms
        if not self.norms or min(self.norms) < 1 or iterations < 0:
            raise ValueError("LAPQ needs norms of 1 at least, and no less than 0 iterations")
        self.iterations, self.measure = iterations, measure
        self.search = search or ("powell" if self.refine is None else "gradients")
        self.correct_bias = correct_bias and self.refine is None

    def find_scales(self, problem: Problem) -> Found:
        """Start, search, correct."""
        histograms = self.histograms(problem, part_of(self.progress, 0.0, _COUNTED))
        some, unclipped = problem.at_once(), unclipped_scales(problem, histograms)
        scales = self._start(some, histograms, part_of(self.progress, _COUNTED, _STARTED))
        if self.iterations and problem.net.layers():
            scales = self._searched(some, scales, part_of(self.progress, _STARTED, 1.0))
            scales = self._corrected(problem, scales)
        return Found(unclipped, scales)

    def _start(self, problem: Problem, histograms: Sequence[Histogram], progress: Progress) -> Scales:
        """By the norm at the parabola's vertex, if that is better than each one that was tried."""
        everyone = Trials(problem, unclipped_scales(problem, histograms), self.measure)
        tried: dict[float, tuple[float, Scales]] = {}

        def loss(p: float) -> float:
            progress(len(tried) / (len(self.norms) + 1), f"scales by the norm of {p:.2f}")
            scales = self._corrected(problem, norm_scales(problem, histograms, p))
            tried[p] = everyone.whole_loss(scales), scales
            return tried[p][0]

        losses = [loss(p) for p in self.norms]
        if len(self.norms) > 2:
            p = vertex(np.array(self.norms), np.array(losses))
            if p is not None and min(self.norms) < p < max(self.norms):
                loss(p)
        return min(tried.values(), key=lambda each: each[0])[1]

    def _searched(self, problem: Problem, start: Scales, progress: Progress) -> Scales:
        """The best of what the search finds, by the images that take no part in it, nor in correcting its biases."""
        others, held = problem.subset(slice(0, None, 2)), problem.subset(slice(1 if problem.count > 1 else 0, None, 2))
        start = self._corrected(others, start)
        clips = Clips(problem, start)
        if self.search == "gradients" and can_descend(problem):
            found = self._descend(others, clips, start, progress)
        else:
            found = self._powell(others, clips, start, progress)
        judge = Trials(held, start, self.measure)
        best, least = start, judge.whole_loss(start)
        for scales in (self._corrected(others, scales) for scales in found):
            if (loss := judge.whole_loss(scales)) < least:
                best, least = scales, loss
        return best

    def _corrected(self, problem: Problem, scales: Scales) -> Scales:
        """With biases of these images, if they are to be corrected."""
        corrected = scales.copy()
        if self.correct_bias:
            correct_bias(problem, corrected)
        return corrected

    def _powell(self, problem: Problem, clips: Clips, start: Scales, progress: Progress) -> Iterator[Scales]:
        count = int(_WORK / (len(clips.clips) * _EVALUATIONS / 2 * work(problem.net)))
        which = np.linspace(0, problem.count - 1, min(problem.count, max(_FEWEST, count)))
        trials = Trials(problem.subset(which.round().astype(int)), start, self.measure)
        done = 0

        def along(place: np.ndarray, direction: np.ndarray) -> Callable[[float], float]:
            nonlocal done
            progress(min(done / (self.iterations * (len(place) + 1)), 1.0), "scales by the network's loss")
            done += 1
            trials.begin(clips.first(direction), clips.scales(place))
            return lambda far: trials.loss(clips.scales(place + far * direction))

        zeros = np.zeros(len(clips.clips))
        iterations = powell(along, zeros, trials.whole_loss(start), _STEP, _EVALUATIONS)
        for place, _ in islice(iterations, self.iterations):
            yield clips.scales(place)

    def _descend(self, problem: Problem, clips: Clips, start: Scales, progress: Progress) -> Iterator[Scales]:
        descent = Descent(problem, clips, Trials(problem, start, self.measure).divergence, _STEPS)
        for done, place in descent.places():
            progress(done, "scales along the loss's gradients")
            yield clips.scales(place)
