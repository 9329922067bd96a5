"""EasyQuant's scale searches (arXiv 2006.16669, section 3.2, equation 4) in closed form, on samples of one layer.

The objective is the cosine between the float and the quantized output of a layer, bias left out, averaged over images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..arithmetic.exact_cholesky import exact_cholesky
from ..arithmetic.exact_product import exact_product, integer_bits, units_of, whole_numbers
from ..quantized.closeness import ratio
from ..quantized.parallel import map_threads
from ..quantized.quantizers import Range

_CHUNK = 2**18  # float32 elements worked on at a time: they stay in the cache


@dataclass(frozen=True)
class Candidates:
    """Scales to try: linearly from alpha * S to beta * S, S being the starting scale.

    S multiplies, as in the paper (`q = rint(x * S)`): larger is finer and saturates more.
    """

    alpha: float = 0.5
    beta: float = 2.0
    count: int = 100

    def __post_init__(self) -> None:
        if not (0 < self.alpha <= 1 <= self.beta and self.count >= 1):
            raise ValueError("EasyQuant needs 0 < alpha <= 1 <= beta and at least one candidate")

    @property
    def factors(self) -> np.ndarray:
        """The candidates in parts of S.

        The one closest to 1 is made 1, and they are in the order of their distance from it, so that the first of
        equally good ones changes the scale least.
        """
        factors = np.linspace(self.alpha, self.beta, self.count)
        factors[np.argmin(np.abs(factors - 1))] = 1.0
        return factors[np.argsort(np.abs(np.log(factors)), kind="stable")]


@dataclass(frozen=True)
class Activation:
    """The bias and bounds (relu, clip) directly behind a layer, for an objective that looks behind them.

    Attributes
    ----------
    bias : numpy.ndarray (G, O / G) float32
    low : float
    high : numpy.ndarray (G, O / G) float32
    """

    bias: np.ndarray
    low: float
    high: np.ndarray

    def __call__(self, outputs: np.ndarray, channels: slice = slice(None)) -> np.ndarray:
        """Of outputs (..., G, R, C) of some channels."""
        return np.clip(outputs + self.bias[:, None, channels], self.low, self.high[:, None, channels])


@dataclass
class WeightSample:
    """What the cosines depend on when the scales of a layer's weights change, for fixed quantized inputs.

    All output channels are searched in parallel: for one channel's scale, the others stand as in the float network.
    (The cosine over that channel alone would not see its gain: where one weight dominates, it would let it saturate.)
    A channel is linear in its weights w: with the rows P of an image's patches and the channel's float output o,
    `<o, P w> = (P^T o) . w`, so that per candidate only |P w| is left to compute. G: the layer's groups, K: weights
    per output channel.

    Attributes
    ----------
    rows : (I, G, R, K) float32
        P, or any matrix with the same P^T P.
    correlations : (I, G, K, O / G) float64
        P^T o.
    squares : (I, G, O / G) float64
        |o|^2.
    targets : (I, G, R, O / G) float32, optional
        o itself, row by row, instead of correlations: where the rows are few, or an activation is looked behind.
    activation : Activation, optional
        Behind it, a channel is not linear any more.
    alone : bool
        The cosine is over one channel's outputs, not over the whole layer's.
    """

    rows: np.ndarray
    correlations: np.ndarray | None
    squares: np.ndarray
    targets: np.ndarray | None = None
    activation: Activation | None = None
    alone: bool = False

    def __post_init__(self) -> None:
        units = units_of(self.rows, integer_bits(self.rows.shape[-1]))
        self.whole = whole_numbers(self.rows, units), units
        self.sums = _sums(self.rows, self.squares**0.5)

    def products(self, image: int, w: np.ndarray) -> np.ndarray:
        """Of an image's rows and integers (..., G, K, N), float32."""
        whole, units = (x[image] for x in self.whole)
        return ((whole @ w) * units).astype(np.float32)


_LARGE = 1e12


def weight_sample(
    patches: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    compress: bool,
    activation: Activation | None = None,
    alone: bool = False,
) -> WeightSample:
    """Make a sample from the dequantized patches (G, K, P) and float outputs (G, O / G, P) of each image.

    `compress`: replace the P rows by K rows that give the same |P w|; only without an activation.
    """
    if not compress:
        behind = activation or (lambda output: output)
        targets = np.stack([behind(output.transpose(0, 2, 1)) for output in outputs]).astype(np.float32)
        rows = np.stack([patch.transpose(0, 2, 1) for patch in patches]).astype(np.float32)
        squares = np.einsum("igpo,igpo->igo", targets, targets, dtype=np.float64)
        return WeightSample(rows, None, squares, targets, activation, alone)
    roots, correlations, powers = [], [], []
    for patch, output in zip(patches, outputs, strict=True):
        patch, output = patch.astype(np.float64), output.astype(np.float64)
        correlations.append(exact_product(patch, output.transpose(0, 2, 1)))
        powers.append(np.einsum("gop,gop->go", output, output))
        roots.append(_root(patch).astype(np.float32))
    return WeightSample(np.stack(roots), np.stack(correlations), np.stack(powers), alone=alone)


def search_weight_scales(
    sample: WeightSample, weight: np.ndarray, start: np.ndarray, factors: np.ndarray, limit: int, smallest: np.ndarray
) -> np.ndarray:
    """For each output channel the scale with the largest cosine.

    Parameters
    ----------
    weight : (G, O / G, K) float32
    start : (G, O / G) float32
        The scales that the factors refer to: candidates are `start / factor`.
    smallest : (G, O / G) float32
        Candidates below are raised to it.

    Returns
    -------
    numpy.ndarray (G, O / G) float32
    """
    candidates = np.maximum((start[..., None] / factors).astype(np.float32), smallest[..., None])
    chunks = _chunks(weight.shape[1], weight.shape[0] * len(factors) * sum(sample.rows.shape[2:]))
    found = map_threads(lambda channels: _weight_cosines(sample, weight, candidates, limit, channels), chunks)
    cosines = np.concatenate(found, axis=1)
    return np.take_along_axis(candidates, cosines.argmax(axis=2)[..., None], axis=2)[..., 0]


def _weight_cosines(
    sample: WeightSample, weight: np.ndarray, candidates: np.ndarray, limit: int, channels: slice
) -> np.ndarray:
    """Cosine for each candidate scale of some channels (G, C, n)."""
    candidates = candidates[:, channels]
    w = np.clip(np.rint(weight[:, channels, None] / candidates[..., None]), -limit, limit)  # (G, C, n, K)
    products = _linear_products if sample.activation is None else _activated_products
    total = np.zeros(candidates.shape)
    for squares, (dots, quantized) in zip(sample.squares, products(sample, w, candidates, channels), strict=True):
        own = squares[:, channels, None]
        whole = own if sample.alone else squares.sum()
        total += ratio(whole - own + dots, np.sqrt(whole * (whole - own + quantized)))
    return total / len(sample.rows)


Products = Iterator[tuple[np.ndarray, np.ndarray]]


def _linear_products(sample: WeightSample, w: np.ndarray, candidates: np.ndarray, channels: slice) -> Products:
    """For each image the products (G, C, n) of a channel's quantized output with the float one, and with itself."""
    groups, count, n, k = w.shape
    if sample.correlations is not None:
        all_dots = exact_product(w, sample.correlations[..., channels].transpose(1, 3, 2, 0))  # (G, C, n, I)
    w = w.reshape(groups, count * n, k).transpose(0, 2, 1).astype(np.float64)
    for i in range(len(sample.rows)):
        outputs = sample.products(i, w).reshape(groups, -1, count, n)
        quantized = np.einsum("grcn,grcn->gcn", outputs, outputs, dtype=sample.sums) * np.float64(candidates) ** 2
        if sample.targets is None:
            dots = all_dots[..., i]
        else:
            dots = np.einsum("grcn,grc->gcn", outputs, sample.targets[i][..., channels], dtype=sample.sums)
        yield dots * candidates, quantized


def _activated_products(sample: WeightSample, w: np.ndarray, candidates: np.ndarray, channels: slice) -> Products:
    """As `_linear_products`, of outputs behind the activation."""
    assert sample.activation is not None and sample.targets is not None, "samples behind an activation keep its outputs"
    w, scale = w.transpose(2, 0, 3, 1).astype(np.float64), candidates.transpose(2, 0, 1)[:, :, None]  # (n, G, K, C)
    for i, target in enumerate(sample.targets[..., channels]):
        outputs = sample.activation(sample.products(i, w) * scale, channels)  # (n, G, R, C)
        yield (
            np.einsum("ngrc,grc->gcn", outputs, target, dtype=sample.sums),
            np.einsum("ngrc,ngrc->gcn", outputs, outputs, dtype=sample.sums),
        )


def _root(patch: np.ndarray) -> np.ndarray:
    """R (G, K, K) with R^T R = patch patch^T, up to 1e-9 of it that keeps a singular one factorable."""
    gram = exact_product(patch, patch.transpose(0, 2, 1))
    size = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
    gram += (1e-9 * size + 1e-30)[:, None, None] * np.eye(gram.shape[1])
    return exact_cholesky(gram).transpose(0, 2, 1)


@dataclass
class ActivationSample:
    """What a consumer's output depends on when the scale of its input changes.

    Attributes
    ----------
    x : (I, G, R, K) float32
        Not yet quantized patches of each image.
    weight : (G, K, O / G) float32, or None
        Dequantized weight; None for a consumer that reads the tensor itself.
    target : (I, G, R, O / G) float32
        Output of the float network; without a weight, its tensor.
    activation : Activation, optional
        The target is behind it.
    """

    x: np.ndarray
    weight: np.ndarray | None
    target: np.ndarray
    activation: Activation | None = None


def search_activation_scale(
    samples: Sequence[ActivationSample], start: np.float32, factors: np.ndarray, range_: Range
) -> np.float32:
    """The scale with the largest cosine, averaged over images and then over the consumers."""
    candidates = (start / factors).astype(np.float32)
    cosines = sum(_activation_cosines(sample, candidates, range_) for sample in samples)
    return candidates[np.argmax(cosines)]


def _activation_cosines(sample: ActivationSample, candidates: np.ndarray, range_: Range) -> np.ndarray:
    """Mean cosine over the images for each candidate (n,)."""
    weight, units = None, np.ones(1)
    dtype = _sums(sample.target, np.ones(1) if sample.weight is None else sample.weight)
    if sample.weight is not None:
        columns = sample.weight.transpose(0, 2, 1)
        units = units_of(columns, integer_bits(columns.shape[2])).transpose(0, 2, 1)
        weight = whole_numbers(sample.weight, units)

    def summed(images: slice) -> np.ndarray:
        x = np.ascontiguousarray(sample.x[images].transpose(1, 0, 2, 3))  # (G, I, R, K)
        target = np.ascontiguousarray(sample.target[images].transpose(1, 0, 2, 3))
        norms = np.sqrt(np.einsum("giro,giro->i", target, target, dtype=dtype))
        q, sums = np.empty_like(x), np.zeros(len(candidates))
        for j, scale in enumerate(candidates):
            np.divide(x, scale, out=q)
            np.rint(q, out=q)
            np.clip(q, range_.lo, range_.hi, out=q)
            y = q
            if weight is not None:
                y = (q.reshape(len(q), -1, q.shape[-1]).astype(np.float64) @ weight * units).astype(np.float32)
                y = (y if sample.activation is None else sample.activation(y * scale)).reshape(target.shape)
            lengths = np.sqrt(np.einsum("giro,giro->i", y, y, dtype=dtype)) * norms
            sums[j] = ratio(np.einsum("giro,giro->i", y, target, dtype=dtype), lengths).sum()
        return sums

    sums = map_threads(summed, _chunks(len(sample.x), sample.x[0].size))
    return np.sum(sums, axis=0) / len(sample.x)


def _sums(*arrays: np.ndarray) -> type[np.float64] | None:
    """What sums of squares are to be computed in: float64 where squares could leave float32, else as they are."""
    return np.float64 if any(np.abs(x).max(initial=0) > _LARGE for x in arrays) else None


def _chunks(count: int, size: int) -> list[slice]:
    """Slices of `count` things of `size` elements each."""
    step = max(1, _CHUNK // max(size, 1))
    return [slice(start, start + step) for start in range(0, count, step)]
