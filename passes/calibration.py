"""What all calibrations share: a pass that finds scales, annotates the module with them, and keeps a record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tvm

from .annotate import Scales, annotate
from .calibration_images import calibration_inputs
from .float_executor import FloatExecutor
from .kept_layers import check_kept
from .network import QUANTIZED_OPS, Network, read_network
from .parallel import single_threaded_blas
from .quantization_points import QuantizationPoints, quantization_points
from .quantizers import WEIGHT_LIMITS, check_scheme, smallest_weight_scale

Progress = Callable[[float, str], None]


@dataclass
class Problem:
    """A canonical network, what of it is to be quantized, and the images to do it with.

    Attributes
    ----------
    inputs : dict of input node to numpy.ndarray (N, 1, ...)
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
        kept = kept or {}
        check_kept(read_network(mod), kept)
        net = read_network(mod, [name for name, kind in kept.items() if kind == "float"])
        schemes = {i: kept.get(node.name, scheme) for i, node in enumerate(net.nodes) if node.op in QUANTIZED_OPS}
        wide = [i for i in schemes if net.nodes[i].name in kept]
        points = quantization_points(net, scheme, activation_range, wide)
        return cls(FloatExecutor(mod), net, points, calibration_inputs(net, images), schemes)

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


class Calibration:
    """Base of the calibration passes, which say how scales are found.

    Parameters
    ----------
    images : dict of input name to float32 array (N, ...)
        N calibration images, without the model's batch axis.
    scheme : str
        "int6" (weights in [-31, 31]), "int7" ([-63, 63]) or "int8" ([-127, 127]).
    activation_range : str
        "unsigned": what can't be negative uses [0, 63], [0, 127] or [0, 255]; "symmetric": the weights' range.
    kept : dict of str to str, optional
        Layers (convolutions, dense layers, additions, products, averages) by name that are kept at a wider type: "int8"
        widens the layer's weights and what it reads, "float" leaves it float.
    progress : callable (done: float from 0 to 1, message: str), optional

    Attributes
    ----------
    record : list of dict
        After a run, for each quantized layer: its name, operator and scheme, its weight scales and its input's scale.

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
        progress: Progress | None = None,
    ):
        check_scheme(scheme, activation_range)
        self.images, self.scheme, self.activation_range, self.kept = images, scheme, activation_range, kept
        self.progress = progress or (lambda done, message: None)
        self.record: list[dict] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Calibrate and annotate."""
        problem = Problem.of(mod, self.images, self.scheme, self.activation_range, self.kept)
        scales, found = self.find_scales(problem)
        self.progress(1.0, "calibrated")
        self.record = layer_record(problem, scales, found)
        return annotate(mod, problem.net, problem.points, scales, problem.weight_limit)

    def find_scales(self, problem: Problem) -> tuple[Scales, dict[int, dict]]:
        """The scales, and for each layer what else goes into its record."""
        raise NotImplementedError


def layer_record(problem: Problem, scales: Scales, found: dict[int, dict]) -> list[dict]:
    """What is recorded of each layer, with what was found besides its scales."""
    net = problem.net
    return [
        {
            "layer": net.nodes[i].name,
            "op": net.nodes[i].op,
            "scheme": problem.schemes[i],
            "input_scale": float(scales.input_scale(net, problem.points, i)),
            "weight_scales": scales.weights[i].tolist(),
        }
        | found.get(i, {})
        for i in net.layers()
    ]
