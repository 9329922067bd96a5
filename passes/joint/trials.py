"""The quantized network simulated from any node on, for scales that are tried one after the other."""

from collections.abc import Iterable

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.float_executor import Value
from ..quantized.problem import Problem
from ..quantized.simulation import Simulation
from .output_divergence import Measure, OutputDivergence


class Trials(Simulation):
    """The loss of a network for some images: see `OutputDivergence`.

    What scales that are tried leave unchanged is computed once: `begin` goes to where they begin to matter.

    Parameters
    ----------
    problem : Problem
    scales : Scales
        Of what `begin` computes.
    measure : {"cosine", "entropy"}
    """

    def __init__(self, problem: Problem, scales: Scales, measure: Measure = "cosine") -> None:
        super().__init__(problem, scales)
        self._there: dict[int, Value] = {}
        self._results: dict[int, list[np.ndarray]] = {}
        self._results_there: dict[int, list[np.ndarray]] = {}
        self._from = 0
        expected = {i: _as_list(value) for i, value in problem.evaluated() if i in self.net.outputs}
        self.divergence = OutputDivergence(self.net, [x for i in self.net.outputs for x in expected[i]], measure)

    def begin(self, node: int, scales: Scales) -> None:
        """Simulate what comes before a node."""
        self.scales, self._simulated, self._results = scales, {}, {}
        self._run(range(node))
        self._there, self._results_there, self._from = self._simulated, self._results, node

    def loss(self, scales: Scales) -> float:
        """How far the outputs are from the float network's if what matters from that node on had other scales."""
        self.scales, self._simulated, self._results = scales, dict(self._there), dict(self._results_there)
        self._run(range(self._from, len(self.net.nodes)))
        return self.divergence([x for i in self.net.outputs for x in self._results[i]])

    def whole_loss(self, scales: Scales) -> float:
        """The same for scales that may be others everywhere."""
        self.begin(0, scales)
        return self.loss(scales)

    def _run(self, nodes: Iterable[int]) -> None:
        for i in nodes:
            if self._is_passed_through(i):  # evaluated when read
                continue
            self._simulated[i] = self.inputs[i] if self.net.nodes[i].op == "input" else self._simulate(i)
            for j in self._outputs_of(i):
                self._results[j] = _as_list(self.inputs[j] if j in self.inputs else self.dequantized(j))
            for j in [j for j in self._simulated if self._last[j] <= i]:
                del self._simulated[j]

    def _spare(self, i: int, values: dict[int, Value]) -> np.ndarray | None:
        """None: what is there is read again."""
        return None


def _as_list(result: Value) -> list[np.ndarray]:
    return result if isinstance(result, list) else [result]
