"""What a calibration remembers of each layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..graph.step_notes import Figures
from .annotate import Scales
from .problem import Problem

Steps: TypeAlias = dict[str, Figures]  # of one layer, see `LayerRecord`


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
    lost_channels : int
        How many channels of its input are all 0 at `input_scale`, and not in the float network.
    input_low, input_high, input_ends, input_counts, similarity
        The rest of what is known of its input: see `SeenInput`, which has them without ``input_``. Empty where nobody
        looked.
    steps : dict of str to (float, float)
        A figure before and after each step of a method with ``+`` that had to do with the layer.
        ``center_channels``: largest magnitude of the input. ``center_sources``: mean error of what functions behind the
        layer give. ``equalize``: mean error of the layer's output, by input and weights, as the pass estimates it.
        ``weights``, ``bias``: that error as it is on a sample, and ``input``, twice, what the input alone causes of it
        (see `OutputErrors`). ``block``: the error of its block's output on images held out. Errors are root
        mean squares, in parts of that of what has them.
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
    lost_channels: int = 0
    input_low: float = 0.0
    input_high: float = 0.0
    input_ends: tuple[float, float] = (0.0, 0.0)
    input_counts: list[int] = field(default_factory=list)
    similarity: list[tuple[float, float]] = field(default_factory=list)
    steps: Steps = field(default_factory=dict)


@dataclass(frozen=True)
class Refined:
    """What refinement of a network came to.

    Attributes
    ----------
    cosines : dict of int to float
        For each layer the mean cosine between its float and its quantized outputs, bias included.
    steps : dict of str to dict
        By the layer's name, what its record says of the steps.
    """

    cosines: dict[int, float]
    steps: dict[str, Steps]


def layer_records(
    problem: Problem,
    start: Scales,
    scales: Scales,
    cosines: Mapping[int, tuple[float | None, float]],
    seen: Mapping[int, Mapping[str, Any]],
    steps: Mapping[str, Steps] | None = None,
) -> list[LayerRecord]:
    """One for each layer, in topological order.

    By its node, where known, `cosines` has those before and after, and `seen` more of the record's fields; `steps` is
    by its name.
    """
    net, points = problem.net, problem.points
    unknown: tuple[float | None, float | None] = (None, None)
    return [
        LayerRecord(
            layer=net.nodes[i].name,
            op=net.nodes[i].op,
            scheme=problem.schemes[i],
            input_scale=float(scales.input_scale(net, points, i)),
            weight_scales=scales.weights[i].tolist(),
            input_scale_initial=float(start.input_scale(net, points, i)),
            weight_scales_initial=start.weights[i].tolist(),
            cosine_before=cosines.get(i, unknown)[0],
            cosine_after=cosines.get(i, unknown)[1],
            steps=dict((steps or {}).get(net.nodes[i].name, {})),
            **seen.get(i, {}),
        )
        for i in net.layers()
    ]
