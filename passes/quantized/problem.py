"""A canonical network, and what of it is to be quantized."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import tvm

from ..graph.network import QUANTIZED_OPS, Network, read_network
from ..graph.spectra import layers_of_spectra
from .annotate import Scales
from .calibration_images import calibration_inputs
from .float_executor import FloatExecutor, Value
from .kept_layers import check_kept
from .quantization_points import QuantizationPoints, quantization_points
from .quantizers import WEIGHT_LIMITS, smallest_weight_scale

_CHUNK = 8


@dataclass
class Problem:
    r"""A canonical network, what of it is to be quantized, and the images to do it with.

    Attributes
    ----------
    inputs : dict of input node to numpy.ndarray (N, \*shape)
        The calibration images.
    schemes : dict of int to str
        The scheme of each node that reads quantized activations: "int6", "int7" or "int8".
    """

    executor: FloatExecutor
    net: Network
    points: QuantizationPoints
    inputs: dict[int, np.ndarray]
    schemes: dict[int, str]

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
        whole = read_network(mod)
        check_kept(whole, kept or {})
        kept = dict.fromkeys(layers_of_spectra(whole), "float") | dict(kept or {})
        net = read_network(mod, [name for name, kind in kept.items() if kind == "float"])
        schemes = {i: kept.get(node.name, scheme) for i, node in enumerate(net.nodes) if node.op in QUANTIZED_OPS}
        wide = [i for i in schemes if net.nodes[i].name in kept]
        points = quantization_points(net, scheme, activation_range, wide)
        return cls(FloatExecutor(mod), net, points, calibration_inputs(net, images), schemes)

    @property
    def count(self) -> int:
        """Number of calibration images."""
        return len(next(iter(self.inputs.values())))

    def subset(self, which: slice) -> "Problem":
        """The problem with some of the images."""
        return replace(self, inputs={i: x[which] for i, x in self.inputs.items()})

    def chunks(self) -> Iterator["Problem"]:
        """The problem with a few images at a time, which bounds the memory that evaluating the network takes."""
        return (self.subset(slice(start, start + _CHUNK)) for start in range(0, self.count, _CHUNK))

    def evaluated(self) -> Iterator[tuple[int, Value]]:
        """Each node with its result for all images in the float network; kept until its last use only."""
        return self.executor.run(self.net, self.inputs)

    def weight_limit(self, layer: int) -> int:
        """Quantized weights of a conv2d or dense node lie in [-limit, limit]."""
        return WEIGHT_LIMITS[self.schemes[layer]]

    def scales(self, activations: np.ndarray, weights: dict[int, np.ndarray]) -> Scales:
        """All scales; those of weights are raised where the quantized bias would become too large."""
        scales = Scales(activations, {})
        for i, weight in weights.items():
            smallest = smallest_weight_scale(self.net.bias_of(i), scales.input_scale(self.net, self.points, i))
            scales.weights[i] = np.maximum(weight, smallest)
        return scales
