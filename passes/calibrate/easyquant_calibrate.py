"""EasyQuant (arXiv 2006.16669): scales that maximize the cosine between float and quantized outputs of each layer."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..graph.network import Network
from ..graph.relax_pass import relax_pass
from ..quantized.annotate import Scales
from ..quantized.closeness import mean_cosine
from ..quantized.layer_matrices import grouped_weight
from ..quantized.problem import Problem
from ..quantized.quantization_points import QuantizationPoints
from ..quantized.quantizers import smallest_weight_scale
from ..quantized.simulation import Simulation
from .calibration import Calibration, Found
from .histogram_calibration import threshold_scales
from .kl_calibrate import kl_threshold
from .layer_samples import activation_behind, layer_activation_sample, layer_weight_sample, tensor_sample
from .minmax_calibrate import max_abs_scales
from .scale_search import Activation, ActivationSample, Candidates, search_activation_scale, search_weight_scales

_SEARCH = 8  # a search takes about as long as so many passes over the network

# What the released code does (EasyQuant/tools/scale_fine_tuning.py), where it differs from the paper: scales become
# coarser only; activations start from KL; the cosine is behind the activation function, and for weights over one
# channel. Its candidates for weights begin at 1, next to starting scales of some hundreds: here at a hundredth.
EASYQUANT_SHIPPED: dict[str, Any] = {
    "start": "kl",
    "objective": "after",
    "per_channel": True,
    "weights": Candidates(0.01, 1.0, 100),
    "activations": Candidates(0.8, 1.0, 200),
}


@relax_pass
class EasyQuantCalibrate(Calibration):
    """Annotate a canonical module with the scales that EasyQuant finds (section 3.2, algorithm 1).

    A round searches the weight scales of all layers, per output channel, then the scales of all activations, in
    topological order. Each search sees the layers before it quantized with the scales found so far, and maximizes the
    cosine to the output of the untouched float network, averaged over the images. An activation that several layers
    read has one scale; its objective is the mean over these layers, and over the tensor itself where an addition or
    average reads it. Of large images, the search sees as many as fit into memory (`Problem.at_once`).

    The defaults are the paper's; `EASYQUANT_SHIPPED` are the released code's. Other parameters and errors are those of
    `Calibration`; ValueError for parameters out of range, too.

    Parameters
    ----------
    weights, activations : Candidates
        The scales tried for weights and for activations.
    start : {"max-abs", "kl"}
        Where the scales of activations start; those of weights start at the largest magnitudes.
    objective : {"before", "after"}
        Whether the cosine is that of a layer's output before or after the bias and relu or clip directly behind it.
    per_channel : bool
        For a weight scale, whether the cosine is over that channel's output alone.
    rounds : int
        At most so many; the paper's experiments take one.
    tolerance : float
        A round that raises the mean cosine of the layers by less is the last.
    seed : int
        Of the sampled output positions.

    Attributes
    ----------
    record : list of LayerRecord
        As that of `Calibration`; the cosines are those of the layers' outputs without their biases.
    """

    def __init__(
        self,
        images: dict[str, np.ndarray],
        *,
        weights: Candidates = Candidates(),  # noqa: B008 (it can't be changed)
        activations: Candidates = Candidates(),  # noqa: B008
        start: Literal["max-abs", "kl"] = "max-abs",
        objective: Literal["before", "after"] = "before",
        per_channel: bool = False,
        rounds: int = 1,
        tolerance: float = 1e-4,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(images, **options)
        if start not in ("max-abs", "kl") or objective not in ("before", "after") or rounds < 1:
            raise ValueError("EasyQuant needs start max-abs or kl, objective before or after, and at least one round")
        self.weights, self.activations, self.start = weights, activations, start
        self.objective, self.per_channel = objective, per_channel
        self.rounds, self.tolerance, self.seed = rounds, tolerance, seed

    def find_scales(self, problem: Problem) -> Found:
        """Search, round by round."""
        steps = _Progress(self.progress, self.rounds)
        progress = steps.next("starting scales")
        if self.start == "kl":
            start = threshold_scales(problem, kl_threshold, progress)
        else:
            start = max_abs_scales(problem, progress)
        best = start
        sim = Simulation(problem.at_once(), start)
        before = after = self._start_cosines(sim, steps.next("starting cosines"))
        for _ in range(self.rounds):
            sim.scales = found = best.copy()
            self._search_weights(sim, start, steps.next("weight scales", _SEARCH))
            cosines = self._search_activations(sim, start, steps.next("activation scales", _SEARCH))
            gain = (sum(cosines.values()) - sum(after.values())) / max(len(cosines), 1)
            if gain > 0:
                best, after = found, cosines
            if gain < self.tolerance:
                break
        return Found(start, best, {i: (before[i], after[i]) for i in problem.net.layers()})

    def _start_cosines(self, sim: Simulation, progress: Callable[[float, str], None]) -> dict[int, float]:
        cosines = {}
        for i in sim.walk():
            progress(i / len(sim.net.nodes), sim.net.nodes[i].name)
            cosines.update(_layer_cosine(sim, i))
        return cosines

    def _search_weights(self, sim: Simulation, start: Scales, progress: Callable[[float, str], None]) -> None:
        net = sim.net

        def search(i: int) -> None:
            node = net.nodes[i]
            if node.op not in ("conv2d", "dense"):
                return
            progress(i / len(net.nodes), node.name)
            input_scale = sim.scales.input_scale(net, sim.points, i)
            x = sim.quantized(node.inputs[0])
            behind = self._behind(net, i)
            seed = self.seed + net.place(i)
            sample = layer_weight_sample(node, x, input_scale, sim.float(i), seed, behind, self.per_channel)
            weight = grouped_weight(node, node.constant)
            shape = weight.shape[:2]
            smallest = smallest_weight_scale(net.bias_of(i), input_scale)
            smallest = np.broadcast_to(np.float32(smallest), start.weights[i].shape).reshape(shape)
            begin = start.weights[i].reshape(shape)
            scales = search_weight_scales(sample, weight, begin, self.weights.factors, sim.weight_limit(i), smallest)
            sim.scales.weights[i] = scales.reshape(-1)

        for _ in sim.walk(search):
            pass

    def _search_activations(
        self, sim: Simulation, start: Scales, progress: Callable[[float, str], None]
    ) -> dict[int, float]:
        """Search all scales, and return the cosines of the layers: all that they depend on is then found."""
        net, points = sim.net, sim.points
        late = self._late_samples(sim)
        searched = set()

        def search(group: int) -> None:
            if group in searched:
                return
            searched.add(group)
            samples = [
                late[term] if term in late else self._sample(sim, term, sim.unquantized(term[1]), sim.float(term[1]))
                for term in _terms(net, points, group)
            ]
            begin, range_ = start.activations[group], start.ranges[group]
            sim.scales.activations[group] = search_activation_scale(samples, begin, self.activations.factors, range_)

        def search_inputs(i: int) -> None:
            progress(i / len(net.nodes), net.nodes[i].name)
            for j in net.nodes[i].inputs:
                if j in points.scale_group_of:
                    search(points.scale_group_of[j])

        cosines = {}
        for i in sim.walk(search_inputs):
            cosines.update(_layer_cosine(sim, i))
            if i in points.scale_group_of and not net.users[i]:  # the output, quantized because it is an addition
                search(points.scale_group_of[i])
        return cosines

    def _sample(self, sim: Simulation, term: tuple[int, int], x: np.ndarray, x_float: np.ndarray) -> ActivationSample:
        consumer, tensor = term
        if consumer < 0:
            return tensor_sample(x, x_float, self.seed + sim.net.place(tensor))
        scale = sim.scales.weights[consumer]
        return layer_activation_sample(
            sim.net.nodes[consumer],
            x,
            x_float,
            scale,
            sim.weight_limit(consumer),
            self.seed + sim.net.place(consumer),
            self._behind(sim.net, consumer),
        )

    def _behind(self, net: Network, layer: int) -> Activation | None:
        return activation_behind(net, layer) if self.objective == "after" else None

    def _late_samples(self, sim: Simulation) -> dict[tuple[int, int], ActivationSample]:
        """Samples for consumers whose input is not complete when their group's scale must be known already.

        A group may contain results that depend on its own scale (a concatenation with an earlier part of itself). These
        consumers see the float network's input instead.
        """
        groups = range(len(sim.points.scale_groups))
        late = [t for g in groups for t in _terms(sim.net, sim.points, g) if _is_late(sim, g, t)]
        samples = {}
        if late:
            for i, value in sim.executor.run(sim.net, sim.inputs):
                samples.update({term: self._sample(sim, term, value, value) for term in late if term[1] == i})
        return samples


def _terms(net: Network, points: QuantizationPoints, group: int) -> list[tuple[int, int]]:
    """What a group's objective averages: pairs of a layer and its input, or of -1 and a tensor read as it is."""
    terms = [
        (consumer if net.nodes[consumer].op in ("conv2d", "dense") else -1, j)
        for consumer in points.scale_groups[group].consumers
        for j in net.nodes[consumer].inputs
        if points.scale_group_of.get(j) == group
    ]
    return list(dict.fromkeys(terms)) or [(-1, i) for i in points.scale_groups[group].producers]


def _is_late(sim: Simulation, group: int, term: tuple[int, int]) -> bool:
    members = {i for i, g in sim.points.scale_group_of.items() if g == group}
    producers = sim.points.scale_groups[group].producers
    readers = {u for i in members for u in sim.net.users[i] if u not in members or u in producers}
    return bool(readers) and max(sim.producers_of(term[1])) >= min(readers)


def _layer_cosine(sim: Simulation, i: int) -> dict[int, float]:
    """For a layer the cosine between its float and simulated outputs, bias excluded, averaged over the images."""
    if sim.net.nodes[i].op not in ("conv2d", "dense"):
        return {}
    return {i: mean_cosine(sim.unquantized(i), sim.float(i))}


class _Progress:
    """Splits one progress report among two passes over the network and two searches in each round."""

    def __init__(self, report: Callable[[float, str], None], rounds: int):
        self._report, self._begin, self._total = report, 0, 2 + 2 * _SEARCH * rounds

    def next(self, what: str, share: int = 1) -> Callable[[float, str], None]:
        begin = self._begin
        self._begin += share
        return lambda done, message: self._report((begin + share * done) / self._total, f"{what}: {message}")
