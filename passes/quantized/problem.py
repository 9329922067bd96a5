"""A canonical network, and what of it is to be quantized."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import tvm

from ..graph.network import QUANTIZED_OPS, Network, read_network
from ..graph.saturation import Ends, saturation
from ..graph.spectra import layers_of_spectra
from ..graph.states import check_canonical
from .annotate import Scales
from .calibration_images import calibration_inputs, images_at_once
from .float_executor import FloatExecutor, Value
from .kept_layers import check_kept
from .parallel import iterate_threads
from .progress import Progress
from .quantization_points import QuantizationPoints, can_widen, quantization_points
from .quantizers import WEIGHT_LIMITS, WIDE, Range, activation_range_of, smallest_weight_scale

Measure = TypeVar("Measure")

_CHUNK = 8  # images at most,
_ELEMENTS = 2**19  # and elements of the largest tensor, if that is more than one image


@dataclass
class Problem:
    r"""A canonical network, what of it is to be quantized, and the images to do it with.

    Attributes
    ----------
    inputs : dict of input node to numpy.ndarray (N, \*shape)
        The calibration images.
    schemes : dict of int to str
        The scheme of each node that reads quantized activations, a key of `WEIGHT_LIMITS`.
    ends : dict of int to (float, float)
        Of some nodes, where their quantized range is to end: see `saturation`.
    """

    executor: FloatExecutor
    net: Network
    points: QuantizationPoints
    inputs: dict[int, np.ndarray]
    schemes: dict[int, str]
    ends: dict[int, Ends] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        mod: tvm.IRModule,
        images: dict[str, np.ndarray],
        scheme: str,
        activation_range: str,
        kept: Mapping[str, str] | None = None,
    ) -> "Problem":
        """Read a canonical module; ValueError where it, the images and the kept layers don't fit."""
        check_canonical(mod)
        whole = read_network(mod)
        check_kept(whole, kept or {})
        kept = dict.fromkeys(layers_of_spectra(whole), "float") | dict(kept or {})
        net = read_network(mod, [name for name, kind in kept.items() if kind == "float"])
        schemes = {i: kept.get(node.name, scheme) for i, node in enumerate(net.nodes) if node.op in QUANTIZED_OPS}
        points = quantization_points(net, scheme, activation_range, schemes)
        for i in net.layers():  # what reads no 12 bits, as it must not
            if schemes[i] == WIDE and points.scale_groups[points.scale_group_of[net.nodes[i].inputs[0]]].range.narrow:
                schemes[i] = "int8"
        noted = saturation(mod)
        ends = {i: noted[node.name] for i, node in enumerate(net.nodes) if node.name in noted}
        return cls(FloatExecutor(mod), net, points, calibration_inputs(net, images), schemes, ends)

    @property
    def count(self) -> int:
        """Number of calibration images."""
        return len(next(iter(self.inputs.values())))

    def subset(self, which: slice | np.ndarray) -> "Problem":
        """The problem with some of the images."""
        return replace(self, inputs={i: x[which] for i, x in self.inputs.items()})

    def at_once(self) -> "Problem":
        """The problem with as many of the images, evenly spaced, as can be simulated all at once in bounded memory."""
        count = images_at_once(self.net)
        return self if count >= self.count else self.subset(np.linspace(0, self.count - 1, count).round().astype(int))

    def chunks(self) -> Iterator["Problem"]:
        """The problem with a few images at a time, which bounds the memory that evaluating the network takes."""
        largest = max(int(np.prod(node.shape)) for node in self.net.nodes)
        step = min(_CHUNK, max(1, _ELEMENTS // max(largest, 1)))
        return (self.subset(slice(start, start + step)) for start in range(0, self.count, step))

    def evaluated(self) -> Iterator[tuple[int, Value]]:
        """Each node with its result for all images in the float network; kept until its last use only."""
        return self.executor.run(self.net, self.inputs)

    def measured(
        self, measure: Callable[[int, Value], Measure | None], progress: Progress, message: str
    ) -> Iterator[dict[int, Measure]]:
        """Evaluate the float network by chunks, which threads share.

        Yields for each chunk, in order, what `measure` makes of each node and its result, where that is not None. What
        overflows on the way is not warned of.
        """

        def of(chunk: "Problem") -> tuple[int, dict[int, Measure]]:
            with np.errstate(over="ignore", invalid="ignore"):
                found = {i: measure(i, value) for i, value in chunk.evaluated()}
            return chunk.count, {i: each for i, each in found.items() if each is not None}

        done = 0
        progress(0.0, message)
        for count, found in iterate_threads(of, self.chunks()):
            yield found
            done += count
            progress(done / self.count, message)

    def can_widen(self, group: int) -> bool:
        """Whether a scale group can get 12 bits."""
        members = [i for i, g in self.points.scale_group_of.items() if g == group]
        return can_widen(self.net, members, self.points.scale_groups[group].consumers)

    def wide_range(self, group: int) -> Range:
        """The range that a scale group has with 12 bits."""
        return activation_range_of(WIDE, "unsigned", self.points.scale_groups[group].range.lo >= 0)

    def widened(self, groups: Collection[int]) -> "Problem":
        """The problem with 12 bits for some scale groups, and for the layers that read them."""
        found = list(self.points.scale_groups)
        schemes = dict(self.schemes)
        for g in groups:
            found[g] = replace(found[g], range=self.wide_range(g))
            schemes |= dict.fromkeys((i for i in found[g].consumers if i in schemes), WIDE)
        return replace(self, points=replace(self.points, scale_groups=found), schemes=schemes)

    def weight_limit(self, layer: int) -> int:
        """Quantized weights of a conv2d or dense node lie in [-limit, limit]."""
        return WEIGHT_LIMITS[self.schemes[layer]]

    def scales(self, activations: np.ndarray, weights: dict[int, np.ndarray], ranges: list[Range]) -> Scales:
        """All scales; those of weights are raised where the quantized bias would become too large."""
        scales = Scales(activations, {}, ranges)
        for i, weight in weights.items():
            smallest = smallest_weight_scale(self.net.bias_of(i), scales.input_scale(self.net, self.points, i))
            scales.weights[i] = np.maximum(weight, smallest)
        return scales
