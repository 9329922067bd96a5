"""The constants of a block while they are learned."""

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from ..quantized.parallel import map_threads
from ..quantized.quantizers import smallest_weight_scale
from ..quantized.simulation import Simulation
from .adam import Adam
from .block_gradients import Constants
from .blocks import Block
from .soft_rounding import SoftRounding

# How far all steps go at most: of what is rounded, which takes about 5 from one integer to the other; of logarithms of
# scales; of biases, in parts of the block's output.
_ROUNDING, _SCALE, _BIAS = 10.0, 0.3, 0.3
_WARM = 0.2  # of the steps, before roundings are pushed to integers
_PUSH = 3.0  # at last, in parts of the greatest step by the gradient
_POWERS = (2.0, 0.3)  # first what is nearly round, then all


class BlockConstants:
    """Roundings, scales and biases of a block's layers, and scales of its activations.

    Parameters
    ----------
    sim : Simulation
        With what is there, to start from.
    block : Block
    learned : collection of int
        Scale groups whose scales are learned.
    size : float
        Of the block's output, root mean square.
    steps : int
        How often `descend` will be called.
    start : float
        Of the roundings: see `SoftRounding`.
    """

    def __init__(
        self, sim: Simulation, block: Block, learned: Collection[int], size: float, steps: int, start: float
    ) -> None:
        net, scales, group_of = sim.net, sim.scales, sim.points.scale_group_of
        self._sim, self._learned = sim, learned
        self._rates = [np.float32(far / max(steps, 1)) for far in (_ROUNDING, _SCALE, _BIAS * size)]
        self.layers = [i for i in block.nodes if i in scales.weights]
        biases = {i: net.bias_node(i) for i in self.layers}
        self._bias_of = {i: b for i, b in biases.items() if b in block.nodes}
        groups = {group_of[j] for j in (*block.inputs, *block.nodes) if j in group_of}
        self._activations = {g: scales.activations[g] for g in groups}
        self._integers = {i: sim.quantized_weight(i).astype(np.float32) for i in self.layers}
        self._scales = {i: scales.weights[i] for i in self.layers}
        self._biases = {b: scales.constant(net, b) for b in self._bias_of.values() if b is not None}
        self._roundings = {
            i: SoftRounding(self._integers[i], net.nodes[i].constant / self._shaped(i), sim.weight_limit(i), start)
            for i in self.layers
        }
        self._descents: dict[Hashable, Adam] = {}

    def start(self) -> Constants:
        """What the network has."""
        return self._with(self._integers)

    def soft(self) -> Constants:
        """What to compute gradients with."""
        return self._with({i: self._roundings[i].soft for i in self.layers})

    def rounded(self) -> Constants:
        """What the network may get."""
        return self._with({i: self._roundings[i].rounded for i in self.layers})

    def descend(self, gradients: Sequence[Constants], done: float) -> None:
        """A step by the sum of these, when so much is done."""
        of_roundings, of_scales, of_biases = self._rates
        slower = np.float32((1 + np.cos(np.pi * done)) / 2)
        pushed = max(0.0, (done - _WARM) / (1 - _WARM))

        def layer(i: int) -> None:
            gradient, scale = np.sum([each.tensors[i] for each in gradients], axis=0), self._shaped(i)
            rounding = self._roundings[i]
            axes = 0 if gradient.ndim == 2 else (1, 2, 3)
            of_scale = np.sum(gradient * rounding.soft * scale, axis=axes)
            step = np.float32(_PUSH * pushed) * rounding.push(np.interp(pushed, (0, 1), _POWERS))
            step -= self._step(("rounding", i), gradient * scale * rounding.slope())
            rounding.move(of_roundings * step)
            self._scales[i] = self._scales[i] * np.exp(-of_scales * slower * self._step(("weights", i), of_scale))

        map_threads(layer, self.layers)
        for b in self._biases:
            step = self._step(("bias", b), np.sum([each.tensors[b] for each in gradients], axis=0))
            self._biases[b] = self._biases[b] - of_biases * slower * step
        for g in self._learned:
            of_scale = (
                np.sum([each.scales.get(g, np.float32(0)) for each in gradients], dtype=np.float32)
                * self._activations[g]
            )
            factor = np.exp(-of_scales * slower * self._step(("activations", g), of_scale))
            self._activations[g] = np.float32(self._activations[g] * factor)

    def put(self) -> float:
        """Let the network have them; the share of the integers that are others than before."""
        net, scales, points = self._sim.net, self._sim.scales, self._sim.points
        for g in self._learned:
            scales.activations[g] = self._activations[g]
        scales.constants |= self.rounded().tensors
        changed = [self._roundings[i].rounded != self._integers[i] for i in self.layers]
        for i in self.layers:
            bias = self._bias_of.get(i)
            values = None if bias is None else self._biases[bias].reshape(-1)
            smallest = smallest_weight_scale(values, scales.input_scale(net, points, i))
            scales.weights[i] = np.maximum(self._scales[i], smallest).astype(np.float32)
        return sum(int(each.sum()) for each in changed) / max(sum(each.size for each in changed), 1)

    def _with(self, integers: dict[int, np.ndarray]) -> Constants:
        weights = {i: q * self._shaped(i) for i, q in integers.items()}
        return Constants(weights | self._biases, dict(self._activations))

    def _shaped(self, i: int) -> np.ndarray:
        """Scales of a layer's weights, to be broadcast to them."""
        scale = self._scales[i]
        return scale if self._sim.net.nodes[i].op == "dense" else scale[:, None, None, None]

    def _step(self, name: Hashable, gradient: np.ndarray | np.float32) -> np.ndarray:
        return self._descents.setdefault(name, Adam())(gradient)
