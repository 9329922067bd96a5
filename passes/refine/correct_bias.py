"""Bias correction: what quantization shifts on average is taken back."""

import numpy as np
import tvm

from ..quantized.layer_matrices import by_channel
from ..quantized.simulation import Simulation
from .input_moments import image_shares
from .refinement import Refinement


@tvm.transform.module_pass(opt_level=0, name="CorrectBias")
class CorrectBias(Refinement):
    """Change each bias by the mean difference between the layer's float and quantized outputs, per channel.

    Layer by layer, with the layers before it corrected (Nagel et al., Data-Free Quantization, arXiv 1906.04721, section
    4.2 and appendix D, the empirical form). Images count by `image_shares`. Parameters are those of `Refinement`.
    """

    def refine(self, sim: Simulation, i: int) -> None:
        """Change one bias."""
        node = sim.net.nodes[i]
        if node.op == "bias_add":
            layer = node.inputs[0]
            shift = sim.float(layer) - sim.unquantized(layer)
            shift = by_channel(shift).mean(axis=2)
            mean = np.average(shift, axis=0, weights=image_shares(sim.float(layer))).astype(np.float32)
            sim.scales.constants[i] = node.constant + mean.reshape(node.constant.shape)
