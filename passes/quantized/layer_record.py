"""What a calibration remembers of each layer."""

from collections.abc import Mapping
from dataclasses import dataclass

from .annotate import Scales
from .problem import Problem


@dataclass(frozen=True)
class LayerRecord:
    """What a calibration found for a convolution or dense layer.

    Attributes
    ----------
    layer, op, scheme : str
        Its name; "conv2d" or "dense"; "int6", "int7" or "int8".
    input_scale : float
        Scale of the activation that it reads.
    weight_scales : list of float
        One for each output channel.
    input_scale_initial : float
        The scale that maps the largest magnitude to the end of the range, or where else the method's search started.
    weight_scales_initial : list of float
        The same for each output channel's weights.
    cosine_before, cosine_after : float, optional
        Mean cosine between the float and the quantized outputs of the layer, with all initial and with all final
        scales; None where the method does not compare outputs.
    """

    layer: str
    op: str
    scheme: str
    input_scale: float
    weight_scales: list[float]
    input_scale_initial: float
    weight_scales_initial: list[float]
    cosine_before: float | None = None
    cosine_after: float | None = None


def layer_records(
    problem: Problem, start: Scales, scales: Scales, cosines: Mapping[int, tuple[float | None, float]]
) -> list[LayerRecord]:
    """One for each layer, in topological order; `cosines` before and after by the layer's node, where known."""
    net, points = problem.net, problem.points
    return [
        LayerRecord(
            net.nodes[i].name,
            net.nodes[i].op,
            problem.schemes[i],
            float(scales.input_scale(net, points, i)),
            scales.weights[i].tolist(),
            float(start.input_scale(net, points, i)),
            start.weights[i].tolist(),
            *cosines.get(i, (None, None)),
        )
        for i in net.layers()
    ]
