"""How far a layer's output is off after each step of its refinement: for people, on a few positions of a few images."""

from collections.abc import Iterator

import numpy as np

from ..graph.step_notes import significant
from ..quantized.layer_matrices import columns, grouped_weight, output_columns, positions
from ..quantized.layer_record import Steps
from ..quantized.quantizers import max_abs_scale
from ..quantized.simulation import Simulation

_IMAGES, _POSITIONS, _CHANNELS = 4, 32, 64  # of each group at most


class OutputErrors:
    """The mean error of a layer's output, in parts of the output, for any weights of it.

    Both are root mean squares over a sample of the layer's outputs, bias included: of some images, positions and
    channels. The input is that of the quantized network, with the errors of all layers before.

    Parameters
    ----------
    sim : Simulation
        Before the layer is simulated.
    i : int
        A conv2d or dense node.
    seed : int
        Of the positions.
    """

    def __init__(self, sim: Simulation, i: int, seed: int) -> None:
        node, net = sim.net.nodes[i], sim.net
        x, output = sim.quantized(node.inputs[0]), sim.float(i)
        count, rng = positions(node), np.random.default_rng(seed)
        self.weight = grouped_weight(node, node.constant)
        groups, outputs, _ = self.weight.shape
        step = -(-outputs // max(1, _CHANNELS // groups))
        self.channels, self.limit = slice(None, None, step), sim.weight_limit(i)
        self.scale = np.float64(sim.scales.input_scale(net, sim.points, i))
        bias = net.bias_of(i)
        bias = np.zeros(groups * outputs) if bias is None else bias
        self._bias = bias.reshape(groups, outputs, 1)[:, self.channels].astype(np.float64)
        self._sample: list[tuple[np.ndarray, np.ndarray]] = []
        for image in np.unique(np.linspace(0, len(x) - 1, _IMAGES).round().astype(int)):
            some = slice(None) if count <= _POSITIONS else rng.choice(count, _POSITIONS, replace=False)
            wanted = output_columns(node, output[image], some).reshape(groups, outputs, -1)[:, self.channels]
            self._sample.append((columns(node, x[image], some).astype(np.float64), wanted.astype(np.float64)))

    def of_float_weights(self) -> float:
        """With the weights left as they are: what the input's quantization costs."""
        return self._of(self.weight[:, self.channels].astype(np.float64))

    def of_nearest(self) -> float:
        """With weights rounded to the nearest, by scales of each channel's largest."""
        weight = self.weight[:, self.channels].astype(np.float64)
        scale = max_abs_scale(np.abs(weight).max(axis=2), self.limit)[..., None].astype(np.float64)
        return self._of(np.clip(np.rint(weight / scale), -self.limit, self.limit) * scale)

    def of(self, weight: np.ndarray, shift: np.ndarray | None = None) -> float:
        """With these weights (G, O / G, K), and biases changed by `shift` (O,)."""
        shifts = None if shift is None else shift.reshape(*weight.shape[:2], 1)[:, self.channels].astype(np.float64)
        return self._of(weight[:, self.channels], shifts)

    def _of(self, weight: np.ndarray, shift: np.ndarray | None = None) -> float:
        lost, whole = np.sum([*self._squares(weight, 0.0 if shift is None else shift)], axis=0)
        return significant(float(np.sqrt(lost / whole))) if whole else 0.0

    def _squares(self, weight: np.ndarray, shift: np.ndarray | float) -> Iterator[tuple[float, float]]:
        for x, wanted in self._sample:
            error = wanted - (weight @ x) * self.scale - shift
            yield float(np.square(error).sum()), float(np.square(wanted + self._bias).sum())


def steps_of(errors: OutputErrors, weight: np.ndarray, shift: np.ndarray | None) -> Steps:
    """The error before and after each step: weights rounded for the output, bias changed by `shift` (O,), if it was.

    The first has the error of the input alone twice: neither step can take it back but for its mean.
    """
    inputs, nearest, rounded = errors.of_float_weights(), errors.of_nearest(), errors.of(weight)
    found = {"input": (inputs, inputs), "weights": (nearest, rounded)}
    return found if shift is None else {**found, "bias": (rounded, errors.of(weight, shift))}
