"""How much of an error in a layer's output the function behind it lets through."""

import numpy as np

from ..graph.network import BOUNDS, Network
from ..quantized.float_executor import FloatExecutor

_GRID = 1024  # values at which the function is computed


class ActivationSlopes:
    """The slope of the function of single elements that stands directly behind a node, such as relu or hard-swish.

    Parameters
    ----------
    executor : FloatExecutor
    net : Network
    node : int
    """

    def __init__(self, executor: FloatExecutor, net: Network, node: int) -> None:
        self._executor, self._net, self._node = executor, net, node
        self._functions: list[int] = []
        self._ends: np.ndarray | None = None
        sources = {node}
        for i, other in enumerate(net.nodes):
            if other.op == "minimum" and set(other.inputs) <= sources:
                self._ends = other.constant.reshape(-1)
            bounds = other.op in BOUNDS and set(other.inputs) <= sources
            if bounds or other.source in sources:
                self._functions.append(i)
            if bounds:
                sources.add(i)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """At these outputs (N, O, P) of the node, bias included: 0 to 1, the steepest; 1 where there is no function."""
        low, high = float(values.min()), float(values.max())
        if not self._functions or low == high:
            return np.ones_like(values)
        grid = np.linspace(low, high, _GRID, dtype=np.float32)
        results = {self._node: grid[None]}
        for i in self._functions:
            node = self._net.nodes[i]
            results[i] = self._executor.evaluate(node, *(results[j] for j in node.inputs))
        users = {i: set(self._net.users[i]) for i in self._functions}
        read = [i for i in self._functions if not users[i] or users[i] - results.keys()]  # by others, or by the caller
        slopes = np.abs(np.diff([results[i][0] for i in read], axis=1)).max(axis=0)
        steepest = slopes.max()
        places = np.minimum((values - low) * np.float32((_GRID - 1) / (high - low)), _GRID - 2).astype(int)
        found = (slopes / steepest)[places] if steepest > 0 else np.ones_like(values)
        if self._ends is not None:
            found[values > self._ends[:, None]] = 0
        return found
