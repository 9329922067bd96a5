"""What was trained as a network whose integers are given: annotated, and the QDQ file that `compile` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from eq_tvm.passes.quantized.annotate import Scales, annotate
from eq_tvm.passes.quantized.quantizers import Range

if TYPE_CHECKING:
    import tvm

    from eq_tvm.train.network import TrainedNetwork


def trained_scales(network: TrainedNetwork, ranges: list[Range]) -> Scales:
    """Scales, weights and biases as training left them."""
    net = network.problem.net
    activations = [network.of_activations[str(g)].scale.item() for g in range(len(ranges))]
    scales = Scales(np.array(activations, np.float32), {}, ranges)
    with torch.no_grad():
        for i in net.layers():
            least = network.least_scale(i)
            scales.weights[i] = torch.maximum(network.of_weights[str(i)].scale, least).reshape(-1).numpy()
            scales.constants[i] = network.weights[str(i)].numpy()
            if (bias := net.bias_node(i)) is not None:
                scales.constants[bias] = network.biases[str(i)].numpy().reshape(net.nodes[bias].constant.shape)
    return scales


def annotated(module: tvm.IRModule, network: TrainedNetwork, ranges: list[Range]) -> tvm.IRModule:
    """The canonical module with the integers that the network computes with."""
    problem = network.problem
    limits = {i: network.of_weights[str(i)].hi for i in problem.net.layers()}
    return annotate(module, problem.net, problem.points, trained_scales(network, ranges), limits.__getitem__)
