"""What all calibrations share: a pass that finds scales, annotates the module with them, and keeps a record."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm

from .annotate import Scales, annotate
from .calibration_images import calibration_inputs
from .float_executor import FloatExecutor
from .network import Network, read_network
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
    weight_limit : int
        Quantized weights lie in [-weight_limit, weight_limit].
    """

    executor: FloatExecutor
    net: Network
    points: QuantizationPoints
    inputs: dict[int, np.ndarray]
    weight_limit: int

    @classmethod
    def of(cls, mod: tvm.IRModule, images: dict[str, np.ndarray], scheme: str, activation_range: str) -> "Problem":
        """Read a canonical module; ValueError where it and the images don't fit."""
        net = read_network(mod)
        points = quantization_points(net, scheme, activation_range)
        return cls(FloatExecutor(mod), net, points, calibration_inputs(net, images), WEIGHT_LIMITS[scheme])

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
    progress : callable (done: float from 0 to 1, message: str), optional

    Attributes
    ----------
    record : list of dict
        After a run, for each layer: its name and operator, its weight scales and its input's scale.

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
        progress: Progress | None = None,
    ):
        check_scheme(scheme, activation_range)
        self.images, self.scheme, self.activation_range = images, scheme, activation_range
        self.progress = progress or (lambda done, message: None)
        self.record: list[dict] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Calibrate and annotate."""
        problem = Problem.of(mod, self.images, self.scheme, self.activation_range)
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
            "input_scale": float(scales.input_scale(net, problem.points, i)),
            "weight_scales": scales.weights[i].tolist(),
        }
        | found.get(i, {})
        for i in net.layers()
    ]
