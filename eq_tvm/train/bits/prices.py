"""What a layer's weights cost, by their bits: cycles on a target, or bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eq_tvm.train.bits.dropbits import limit

if TYPE_CHECKING:
    from eq_tvm.targets import TargetSpec
    from eq_tvm.train.start import Start


def prices(start: Start, layers: Sequence[int], widths: Sequence[int], spec: TargetSpec | None) -> list[np.ndarray]:
    """Of each layer what each width costs.

    Parameters
    ----------
    start : Start
    layers : sequence of int
        By their numbers in the network.
    widths : sequence of int
        Bits, ascending.
    spec : TargetSpec, optional
        Where there is none, weights cost their bits.

    Returns
    -------
    list of numpy.ndarray (widths,)
        In parts of what all of these layers cost at most; never less for more bits.
    """
    if spec is None:
        found = [start.problem.net.nodes[i].constant.size * np.array(widths, np.float64) for i in layers]
    else:
        by_width = [_cycles(start, width, layers, spec) for width in widths]
        found = [np.array([cycles[start.problem.net.nodes[i].name] for cycles in by_width]) for i in layers]
    found = [np.maximum.accumulate(each) for each in found]
    return [each / sum(float(other[-1]) for other in found) for each in found]


def _cycles(start: Start, width: int, layers: Sequence[int], spec: TargetSpec) -> dict[str, float]:
    """By their names what layers take, estimated, if the weights of all these have so many bits."""
    from tvm.ir.transform import Sequential

    from eq_tvm.passes import LowerToInteger, OrderChannels
    from eq_tvm.passes.quantized.annotate import Scales, annotate
    from eq_tvm.passes.quantized.quantizers import max_abs_scale

    problem, net = start.problem, start.problem.net
    limits = {i: limit(width) if i in layers else problem.weight_limit(i) for i in net.layers()}
    weights = {}
    for i, most in limits.items():
        axes = (1, 2, 3) if net.nodes[i].op == "conv2d" else 0
        weights[i] = max_abs_scale(np.abs(net.nodes[i].constant).max(axis=axes), most)
    scales = problem.scales(start.scales.activations, weights, start.scales.ranges)
    annotated = annotate(start.module, net, problem.points, Scales(**vars(scales)), limits.__getitem__)
    with spec.tvm_target():
        lowering = LowerToInteger(spec.machine)
        Sequential([OrderChannels(spec.machine), lowering])(annotated)
    return lowering.cycles
