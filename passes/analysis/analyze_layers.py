"""What quantization costs, layer by layer: in a network that is quantized as a whole, and if it were the only one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tvm

from ..calibrate.minmax_calibrate import max_abs_scales
from ..graph.network import BOUNDS, QUANTIZED_OPS, Network
from ..graph.saturation import counted
from ..quantized.annotate import Scales
from ..quantized.calibration_images import calibration_inputs
from ..quantized.closeness import mean_cosine
from ..quantized.layer_matrices import by_channel, grouped_weight
from ..quantized.parallel import single_threaded_blas
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress
from ..quantized.read_annotated import read_annotated
from ..quantized.simulation import Simulation
from .float_reference import FloatReference

_OUTPUT_CHUNKS = 2  # so many tell what each layer alone does to the network's outputs


@single_threaded_blas
def analyze_layers(
    module: tvm.IRModule,
    annotated: tvm.IRModule,
    images: dict[str, np.ndarray],
    *,
    calibrated_on: dict[str, np.ndarray] | None = None,
    scheme: str = "int7",
    activation_range: str = "unsigned",
    kept: Mapping[str, str] | None = None,
    imported: tvm.IRModule | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Compare an annotated module with the float network that it was made from.

    Parameters
    ----------
    module : tvm.IRModule
        The canonical module that was annotated.
    annotated : tvm.IRModule
    images : dict of input name to float32 array (N, ...)
        What to compare them on. Images that calibration has not seen tell more: rounding weights for the error of a
        dense layer, above all, fits them to the calibration images.
    calibrated_on : dict, optional
        The calibration images, by default `images`: those whose largest magnitudes scales are compared with.
    scheme, activation_range, kept
        As for the calibration that did it: see `Calibration`.
    imported : tvm.IRModule, optional
        The float network that the outputs are compared with: that which `module` was prepared from. By default
        `module`, with which layers are compared in any case.
    progress : callable (done: float from 0 to 1, message: str), optional

    Returns
    -------
    dict
        `cosine` and `sqnr_db` of the network's outputs, and `layers`, a list of dict in the order of execution. A layer
        is whatever reads quantized activations: convolutions, dense layers, additions, products and averages.

        - `layer`, `op`, `scheme`
        - `cosine_alone`, `sqnr_alone_db`: between the layer's float output, bias excluded, and its output if nothing
          else was quantized; `sqnr_weights_db` and `sqnr_inputs_db` if only its weights or what it reads was.
        - `cosine`, `sqnr_db`: with all layers before it quantized.
        - `shift`: how much of the noise alone is the same for all of an output channel.
        - `output_error`: the mean square error of the network's outputs in parts of their mean square, if nothing else
          was quantized; `share`: its part of the sum over all layers.
        - `inputs`: of each quantized tensor that it reads, `tensor`, `low` and `high` of its range, its `scale`, the
          `scale_max_abs` that calibration by the largest magnitude would find, the share `saturated` of elements at an
          end of the range, and `channel_ratio`, by how much its largest channel exceeds the median one.
        - `weights`, of convolutions and dense layers: `limit`, the shares `saturated` and `zeroed` (at an end of the
          range; 0, but not in float), `scale_factor`, the median of the scales in parts of those by the largest
          magnitude, and `channel_ratio`, by how much the weights of one input channel exceed those of the median one.
        - `channels`, `dead_channels`: how many outputs it has; how many of them have no weights (but 0), or are 0 in
          all images behind a relu or clip. `dead_channels_float`: the same in the float network.

        Signal to quantization noise ratios are in dB, None where there is no noise.
    """
    problem = Problem.of(module, images, scheme, activation_range, kept)
    net, scales = problem.net, read_annotated(annotated, problem)
    seen = problem if calibrated_on is None else replace(problem, inputs=calibration_inputs(net, calibrated_on))
    start = max_abs_scales(seen, no_progress)
    rows = {i: _Layer(net, i) for i, node in enumerate(net.nodes) if node.op in QUANTIZED_OPS}
    ends = {_end(net, i): i for i in net.layers()}
    total, reference = _Closeness(), FloatReference(module if imported is None else imported)
    count = len(list(problem.chunks()))
    chunks = [problem.subset(slice(k, None, count)) for k in range(count)]  # each from all over the images
    for number, chunk in enumerate(chunks):
        outputs = _float_outputs(chunk) if number < _OUTPUT_CHUNKS else {}
        sim = Simulation(chunk, scales)
        for i in sim.walk():
            progress((number + i / len(net.nodes)) / len(chunks), f"analyzing {net.nodes[i].name}")
            if i in rows:
                rows[i].add(sim, i, outputs)
            if i in ends:
                rows[ends[i]].add_activation(sim, i)
        pairs = [pair for i in net.outputs for pair in sim.outputs[i]]
        for expected, result in reference.beside(pairs, chunk.inputs):
            total.add(expected, result)
    errors = sum(row.output_error for row in rows.values()) or 1.0
    layers = [row.result(problem, scales, start) | {"share": row.output_error / errors} for row in rows.values()]
    return {"cosine": total.cosine, "sqnr_db": total.sqnr_db, "layers": layers}


class _Closeness:
    """Mean cosine, and signal to quantization noise ratio, of what is added up."""

    def __init__(self) -> None:
        self._count, self._cosines, self._signal, self._noise = 0, 0.0, 0.0, 0.0

    def add(self, expected: np.ndarray, result: np.ndarray) -> None:
        self._count += len(expected)
        self._cosines += len(expected) * mean_cosine(expected, result)
        self._signal += float(np.sum(np.square(expected, dtype=np.float64)))
        self._noise += float(np.sum(np.square(expected.astype(np.float64) - result)))

    @property
    def cosine(self) -> float:
        return self._cosines / self._count if self._count else 1.0  # all outputs are constants

    @property
    def sqnr_db(self) -> float | None:
        if not self._noise:
            return None
        return float(10 * np.log10(max(self._signal, np.finfo(float).tiny) / self._noise))


class _Layer:
    """What the images tell of one layer."""

    def __init__(self, net: Network, i: int) -> None:
        self.i, self.node = i, net.nodes[i]
        self.is_layer = self.node.op in ("conv2d", "dense")
        self.alone, self.accumulated, self.by_inputs, self.by_weights = (_Closeness() for _ in range(4))
        self.shifts, self.count, self.noise = 0.0, 0, 0.0  # sums over each channel, how many elements it has, squares
        self.largest: dict[int, np.ndarray] = {}  # of each channel of what it reads
        self.saturated: dict[int, list[float]] = {}
        self.filled = [np.zeros(self.node.shape[1] if self.is_layer else 0, bool)] * 2  # not always 0: simulated, float
        self.errors: list[float] = []

    def add(self, sim: Simulation, i: int, outputs: dict[int, list[np.ndarray]]) -> None:
        """Take the images of a walk that is at this layer, and the network's float outputs for them (or nothing)."""
        expected, alone, unquantized = (
            counted(sim.net, i, x) for x in (sim.float(i), sim.alone(i), sim.unquantized(i))
        )
        self.accumulated.add(expected, unquantized)
        self.alone.add(expected, alone)
        errors = _by_channel(alone.astype(np.float64) - expected)
        self.shifts = self.shifts + errors.sum(axis=(0, 2))
        self.count += errors.size / errors.shape[1]
        self.noise += np.square(errors).sum()
        if self.is_layer:
            self.by_inputs.add(expected, sim.alone(i, weights=False))
            self.by_weights.add(expected, sim.alone(i, inputs=False))
        for j in dict.fromkeys(self.node.inputs):
            if j not in sim.points.scale_group_of:
                continue
            x, q, range_ = (
                counted(sim.net, j, sim.float(j)),
                sim.quantized(j),
                sim.scales.ranges[sim.points.scale_group_of[j]],
            )
            self.largest[j] = np.maximum(self.largest.get(j, 0), _by_channel(np.abs(x)).max(axis=(0, 2)))
            at_end = ((q == range_.hi) | (q == range_.lo if range_.lo < 0 else False)) & (x == sim.float(j))
            self.saturated.setdefault(j, []).append(float(at_end.mean()))
        if outputs:
            changed = sim.float_outputs(i, alone)
            self.errors.append(sum(_error(outputs[k], changed[k]) for k in changed) / len(outputs))

    def add_activation(self, sim: Simulation, end: int) -> None:
        """Take what is behind the bias and the relu or clip of the layer."""
        result = sim.quantized(end) if end in sim.points.scale_group_of else sim.unquantized(end)
        results = result, sim.float(end)
        self.filled = [f | (_by_channel(x) != 0).any(axis=(0, 2)) for f, x in zip(self.filled, results, strict=True)]

    @property
    def output_error(self) -> float:
        return float(np.mean(self.errors))

    def result(self, problem: Problem, scales: Scales, start: Scales) -> dict[str, Any]:
        node = self.node
        found = {
            "layer": node.name,
            "op": node.op,
            "scheme": problem.schemes[self.i],
            "cosine_alone": self.alone.cosine,
            "sqnr_alone_db": self.alone.sqnr_db,
            "cosine": self.accumulated.cosine,
            "sqnr_db": self.accumulated.sqnr_db,
            "shift": float(np.square(self.shifts).sum() / self.count / self.noise) if self.noise else 0.0,
            "output_error": self.output_error,
            "inputs": [self._input(problem, scales, start, j) for j in self.largest],
        }
        if self.is_layer:
            found |= {"sqnr_inputs_db": self.by_inputs.sqnr_db, "sqnr_weights_db": self.by_weights.sqnr_db}
            found |= self._weights(problem, scales, start)
        return found

    def _input(self, problem: Problem, scales: Scales, start: Scales, j: int) -> dict[str, Any]:
        group = problem.points.scale_group_of[j]
        range_ = scales.ranges[group]
        return {
            "tensor": problem.net.nodes[j].name,
            "low": range_.lo,
            "high": range_.hi,
            "scale": float(scales.activations[group]),
            "scale_max_abs": float(start.activations[group]),
            "saturated": float(np.mean(self.saturated[j])),
            "channel_ratio": _channel_ratio(self.largest[j]),
        }

    def _weights(self, problem: Problem, scales: Scales, start: Scales) -> dict[str, Any]:
        weight = grouped_weight(self.node, self.node.constant).reshape(self.node.shape[1], -1)
        quantized = Simulation(problem, scales).quantized_weight(self.i)
        quantized = grouped_weight(self.node, quantized).reshape(weight.shape)
        limit = problem.weight_limit(self.i)
        by_input = np.abs(self.node.constant).max(axis=1 if self.node.op == "dense" else (0, 2, 3))
        dead = [~filled | ~w.any(axis=1) for filled, w in zip(self.filled, (quantized, weight), strict=True)]
        return {
            "weights": {
                "limit": limit,
                "saturated": float((np.abs(quantized) == limit).mean()),
                "zeroed": float(((quantized == 0) & (weight != 0)).mean()),
                "scale_factor": float(np.median(scales.weights[self.i] / start.weights[self.i])),
                "channel_ratio": _channel_ratio(by_input),
            },
            "channels": len(weight),
            "dead_channels": int(dead[0].sum()),
            "dead_channels_float": int(dead[1].sum()),
        }


def _float_outputs(problem: Problem) -> dict[int, list[np.ndarray]]:
    found = {}
    for i, value in problem.evaluated():
        if i in problem.net.outputs:
            found[i] = value if isinstance(value, list) else [value]
    return found


def _error(expected: list[np.ndarray], results: list[np.ndarray]) -> float:
    """Mean square of the difference, in parts of the expected mean square of the image, over images and outputs."""
    errors = []
    for a, b in zip(expected, results, strict=True):
        a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
        errors.append(np.square(a - b).sum(axis=1) / np.maximum(np.square(a).sum(axis=1), np.finfo(np.float32).tiny))
    return float(np.mean(errors))


def _end(net: Network, layer: int) -> int:
    """The last of the bias and the relu or clip directly behind a layer."""
    for ops in ({"bias_add"}, BOUNDS, {"minimum"}):
        user = net.sole_user(layer)
        if user is not None and net.nodes[user].op in ops:
            layer = user
    return layer


def _by_channel(x: np.ndarray) -> np.ndarray:
    """(N, batch, C, ...) as (N, C, rest); one channel where there are none."""
    return by_channel(x) if x.ndim > 2 else x.reshape(len(x), 1, -1)


def _channel_ratio(largest: np.ndarray) -> float:
    """The largest of the channels in parts of the median of those that are not 0."""
    return float(largest.max() / np.median(largest[largest > 0])) if largest.any() else 1.0
