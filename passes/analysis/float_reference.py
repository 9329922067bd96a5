"""The float network as it was imported: what quantized outputs are measured against, however it was prepared."""

import numpy as np
import tvm

from ..graph.network import read_network
from ..quantized.float_executor import FloatExecutor
from ..quantized.parallel import single_threaded_blas

Pair = tuple[np.ndarray, np.ndarray]


class FloatReference:
    """Runs a canonical module.

    Parameters
    ----------
    mod : tvm.IRModule
        With the inputs and outputs of the modules that are compared with it.
    """

    def __init__(self, mod: tvm.IRModule) -> None:
        self._net, self._executor = read_network(mod), FloatExecutor(mod)

    @single_threaded_blas
    def outputs(self, inputs: dict[int, np.ndarray]) -> list[np.ndarray]:
        r"""Each output (N, \*shape), for inputs as `Problem` has them."""
        net, found = self._net, {}
        for i, value in self._executor.run(net, inputs):
            if i in net.outputs:
                found[i] = value if isinstance(value, list) else [value]
        return [x for i in net.outputs for x in found[i]]

    def beside(self, pairs: list[Pair], inputs: dict[int, np.ndarray]) -> list[Pair]:
        """Pairs of float and quantized outputs, with these outputs for the former."""
        return [(float_, quantized) for float_, (_, quantized) in zip(self.outputs(inputs), pairs, strict=True)]
