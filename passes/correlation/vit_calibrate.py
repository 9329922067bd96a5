"""Calibration of vision transformers: correlation of each layer's output, order of attention's scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..calibrate.calibration import Calibration, Found
from ..calibrate.minmax_calibrate import max_abs_scales
from ..graph.relax_pass import relax_pass
from ..quantized.annotate import Scales
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.progress import Progress, part_of
from ..refine.correct_bias import correct_bias
from .readers import LayerReader, ProductReader, Reader
from .samples import sampled_readers
from .weight_search import search_weights

_STARTED, _SAMPLED, _SEARCHED = 0.1, 0.2, 0.9  # of the time
_FIRST_ROUND = 0.5  # of the search


@relax_pass
class ViTCalibrate(Calibration):
    """Annotate a canonical module with the scales for which each layer's output correlates best with the float one.

    As Liu et al., Post-Training Quantization for Vision Transformer (arXiv 2106.14156, sections 3.2 to 3.4): the mean
    over the images of Pearson's correlation between float and quantized outputs, for products of queries and keys less
    `gamma` times a loss of wrongly ordered scores; scales of inputs and weights searched in turn, each in 0.5 to 1.2 of
    what its largest magnitude needs, until none changes; then biases are corrected. Networks without attention do
    without the order.

    Other than theirs: weights have a scale for each output channel; what several layers read has one scale, for the
    mean of their correlations; scores are compared behind softmax; 12 bits, which what is float in the paper has here,
    saturate nothing; each layer is searched for the inputs of the float network, sampled; and the order of scores is a
    mean over sampled pairs, where theirs is the sum over all. Where refinement follows, it corrects biases.

    Parameters, record and errors are those of `Calibration`, and:

    Parameters
    ----------
    gamma, theta : float
        What order counts, and how far apart quantized scores are to be: 0.1 and 0.2 in the paper.
    candidates : int
        For each scale.
    rounds : int
        At most so many.
    bias : bool
        Whether biases are corrected where no refinement follows.
    """

    def __init__(
        self,
        images: dict[str, np.ndarray],
        *,
        gamma: float = 0.1,
        theta: float = 0.2,
        candidates: int = 50,
        rounds: int = 20,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(images, **options)
        if gamma < 0 or theta < 0 or candidates < 1 or rounds < 1:
            raise ValueError("ViTCalibrate needs gamma and theta of 0 at least, and one candidate and round at least")
        self.gamma, self.theta, self.rounds = gamma, theta, rounds
        self.bias = bias and self.refine is None
        factors = np.linspace(0.5, 1.2, candidates)
        factors[np.argmin(np.abs(factors - 1))] = 1.0
        self.factors = factors[np.argsort(np.abs(factors - 1), kind="stable")]  # of equals, the nearest to the start

    def find_scales(self, problem: Problem) -> Found:
        """Start, sample, search, correct."""
        start = max_abs_scales(problem, part_of(self.progress, 0.0, _STARTED))
        readers = sampled_readers(problem, (self.gamma, self.theta), part_of(self.progress, _STARTED, _SAMPLED))
        scales = start.copy()
        self._search(problem, readers, start, scales, part_of(self.progress, _SAMPLED, _SEARCHED))
        if self.bias:
            correct_bias(problem, scales, part_of(self.progress, _SEARCHED, 1.0))
        return Found(start, scales)

    def _search(
        self, problem: Problem, readers: Sequence[Sequence[Reader]], start: Scales, scales: Scales, progress: Progress
    ) -> None:
        """Round by round, only what depends on something that has changed."""
        todo = list(range(len(readers)))
        for round_ in range(self.rounds):
            changed = set()
            for done, group in enumerate(todo):
                share = 1 - _FIRST_ROUND**round_ * (1 - (1 - _FIRST_ROUND) * done / len(todo))
                progress(share, f"scales by correlation, round {round_ + 1}")
                if self._searched(problem, readers[group], group, start, scales):
                    changed.add(group)
            todo = sorted(changed.union(*(_partners(readers[group]) for group in changed)))
            if not todo:
                break

    def _searched(self, problem: Problem, readers: Sequence[Reader], group: int, start: Scales, scales: Scales) -> bool:
        """Search an activation's scale, then those of the weights that it meets: whether one changed."""
        before = scales.activations[group]
        layers = [reader for reader in readers if isinstance(reader, LayerReader)]
        weights = {reader.layer: reader.quantized_weight(scales) for reader in layers}

        def correlation(factor: float) -> float:
            tried = Scales(scales.activations.copy(), scales.weights, scales.ranges)
            tried.activations[group] = start.activations[group] * np.float32(factor)
            return sum(reader.closeness(tried, weights) for reader in readers)

        if start.ranges[group].narrow:  # finer steps of 12 bits gain nothing, and what saturates may matter
            best = self.factors[int(np.argmax(map_threads(correlation, self.factors)))]
            scales.activations[group] = start.activations[group] * np.float32(best)
        changed = bool(scales.activations[group] != before)
        for reader in layers:
            found = search_weights(reader, scales, start.weights[reader.layer], self.factors, problem)
            changed |= not np.array_equal(found, scales.weights[reader.layer])
            scales.weights[reader.layer] = found
        return changed


def _partners(readers: Sequence[Reader]) -> set[int]:
    """The scale groups of the other operands of products."""
    return {group for reader in readers if isinstance(reader, ProductReader) for group in reader.groups}
