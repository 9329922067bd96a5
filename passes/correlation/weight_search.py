"""The search of a layer's weight scales: for each output channel the one that lets the layer correlate best."""

import numpy as np

from ..quantized.annotate import Scales
from ..quantized.parallel import map_threads
from ..quantized.problem import Problem
from ..quantized.quantizers import smallest_weight_scale
from .correlation import ratio_of
from .readers import LayerReader, rows_product

_CHUNK = 2**21  # elements of the outputs computed at a time


def search_weights(
    reader: LayerReader, scales: Scales, start: np.ndarray, factors: np.ndarray, problem: Problem
) -> np.ndarray:
    """The scales (O,) of a layer's weights, for the scale that its input has.

    All output channels are searched at once: for one channel's scale, the others stand as in the float network.

    Parameters
    ----------
    reader : LayerReader
    scales : Scales
        Of the input.
    start : (O,) float32
        The scales that the factors refer to.
    factors : (n,) float64
        Candidates in parts of `start`; of equally good ones the first is taken.
    problem : Problem
    """
    groups, _, per_group = reader.weight.shape
    input_scale = scales.input_scale(problem.net, problem.points, reader.layer)
    smallest = np.broadcast_to(smallest_weight_scale(problem.net.bias_of(reader.layer), input_scale), start.shape)
    candidates = np.maximum(start[:, None] * factors, smallest[:, None]).astype(np.float32)
    candidates = candidates.reshape(groups, per_group, -1)
    x, sums = reader.read(scales), _Sums.of(reader.outputs)
    size = max(1, _CHUNK // max(x.size // x.shape[3] * len(factors), 1))
    parts = [slice(begin, begin + size) for begin in range(0, per_group, size)]

    def correlations(channels: slice) -> np.ndarray:
        tried = candidates[:, channels]
        w = reader.weight[:, :, channels, None] / tried[:, None]  # (G, K, C, n)
        w = np.clip(np.rint(w, out=w), -reader.limit, reader.limit, out=w)
        results = rows_product(x, w.reshape(*w.shape[:2], -1)).reshape(*x.shape[:3], *tried.shape[1:])
        results = results * (tried * input_scale).astype(np.float32)[:, None]
        wanted = reader.outputs[..., channels, None]
        if reader.has_bias:
            results -= (results - wanted).mean(axis=(0, 2), keepdims=True, dtype=np.float64)
        return sums.correlations(results, wanted)

    found = np.concatenate(map_threads(correlations, parts), axis=1).argmax(axis=2)
    return np.take_along_axis(candidates, found[..., None], axis=2).reshape(-1)


class _Sums:
    """Sums over the float outputs (N, G, R, C) of all channels, with which those of changed channels are compared."""

    def __init__(self, count: int, sums: np.ndarray, squares: np.ndarray) -> None:
        self.count, self.sums, self.squares = count, sums, squares

    @classmethod
    def of(cls, outputs: np.ndarray) -> "_Sums":
        flat = outputs.reshape(len(outputs), -1)
        squares = np.einsum("ni,ni->n", flat, flat, dtype=np.float64)
        return cls(flat.shape[1], flat.sum(axis=1, dtype=np.float64), squares)

    def correlations(self, results: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Mean over the images of the layer's correlation (G, C, n) if a channel's outputs were `results`.

        (N, G, R, C, n) for n candidates each; `wanted` (N, G, R, C, 1) they are in the float network.
        """
        whole, squares = (x[:, None, None, None] for x in (self.sums, self.squares))
        own = np.einsum("igrcn,igrcn->igcn", wanted, wanted, dtype=np.float64)
        kept = squares - own
        total = whole - wanted.sum(axis=2, dtype=np.float64) + results.sum(axis=2, dtype=np.float64)
        dots = kept + np.einsum("igrcn,igrck->igcn", results, wanted, dtype=np.float64) - whole * total / self.count
        ours = kept + np.einsum("igrcn,igrcn->igcn", results, results, dtype=np.float64) - total**2 / self.count
        theirs = squares - whole**2 / self.count
        return ratio_of(dots, np.maximum(ours, 0) * np.maximum(theirs, 0)).mean(axis=0)
