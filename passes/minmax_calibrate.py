"""Calibration by the largest magnitudes: the plain baseline, and where EasyQuant's search starts."""

from collections.abc import Callable

import numpy as np
import tvm

from .annotate import Scales, annotate
from .calibration_images import calibration_inputs
from .float_executor import FloatExecutor
from .network import Network, Node, read_network
from .parallel import single_threaded_blas
from .quantization_points import QuantizationPoints, quantization_points
from .quantizers import WEIGHT_LIMITS, check_scheme, max_abs_scale, smallest_weight_scale

_CHUNK = 8  # images evaluated at a time: bounds the memory


@tvm.transform.module_pass(opt_level=0, name="MinMaxCalibrate")
class MinMaxCalibrate:
    """Annotate a canonical module with the scales that map each largest magnitude to the end of its range.

    Parameters
    ----------
    images : dict of input name to float32 array (N, ...)
        N calibration images, without the model's batch axis.
    scheme : str
        "int7" (weights in [-63, 63]) or "int8" ([-127, 127]).
    activation_range : str
        "unsigned": what can't be negative uses [0, 127] or [0, 255]; "symmetric": the weights' range everywhere.
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
        progress: Callable[[float, str], None] | None = None,
    ):
        check_scheme(scheme, activation_range)
        self.images, self.scheme, self.activation_range = images, scheme, activation_range
        self.progress = progress or (lambda done, message: None)
        self.record: list[dict] = []

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Calibrate and annotate."""
        net = read_network(mod)
        points = quantization_points(net, self.scheme, self.activation_range)
        inputs = calibration_inputs(net, self.images)
        limit = WEIGHT_LIMITS[self.scheme]
        scales = max_abs_scales(FloatExecutor(mod), net, points, inputs, limit, self.progress)
        self.record = [
            {
                "layer": net.nodes[i].name,
                "op": net.nodes[i].op,
                "input_scale": float(scales.input_scale(net, points, i)),
                "weight_scales": scales.weights[i].tolist(),
            }
            for i in net.layers()
        ]
        return annotate(mod, net, points, scales, limit)


def max_abs_scales(
    executor: FloatExecutor,
    net: Network,
    points: QuantizationPoints,
    inputs: dict[int, np.ndarray],
    weight_limit: int,
    progress: Callable[[float, str], None],
) -> Scales:
    """Scales that map the largest magnitude over all images (weights: of each channel) to the range's end."""
    weight_max_abs = {i: _weight_max_abs(net.nodes[i]) for i in net.layers()}
    max_abs = np.zeros(len(points.groups))
    count = len(next(iter(inputs.values())))
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is reported with the layer's name
        for start in range(0, count, _CHUNK):
            progress(start / count, "largest magnitudes")
            for i, value in executor.run(net, {k: x[start : start + _CHUNK] for k, x in inputs.items()}):
                largest = _finite_max_abs(net, i, value)
                if i in points.group_of:
                    group = points.group_of[i]
                    max_abs[group] = max(max_abs[group], largest)
    progress(1.0, "largest magnitudes")
    limits = np.array([group.range.hi for group in points.groups])
    scales = Scales(max_abs_scale(max_abs, limits), {})
    for i, largest in weight_max_abs.items():
        smallest = smallest_weight_scale(net.bias_of(i), scales.input_scale(net, points, i))
        scales.weights[i] = np.maximum(max_abs_scale(largest, weight_limit), smallest)
    return scales


def _weight_max_abs(layer: Node) -> np.ndarray:
    largest = np.abs(layer.constant).max(axis=(1, 2, 3) if layer.op == "conv2d" else 0)
    if not np.isfinite(largest).all():
        raise ValueError(f"NaN or infinity in the weights of layer '{layer.name}'")
    return largest


def _finite_max_abs(net: Network, i: int, value: np.ndarray | list[np.ndarray]) -> float:
    if isinstance(value, list) or value.dtype.kind != "f" or not value.size:
        return 0.0
    largest = max(float(value.max()), -float(value.min()))
    if not np.isfinite(largest):
        raise ValueError(f"NaN or infinity in the activations of layer '{net.nodes[i].name}'")
    return largest
