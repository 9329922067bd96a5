"""What reads a quantized activation, and how close scales keep what it computes to the float network, on samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..arithmetic.exact_product import sums_of_integers
from ..arithmetic.exponential import exp
from ..quantized.annotate import Scales
from ..quantized.quantizers import Range
from .correlation import Order, mean_correlation

Weights = Mapping[int, np.ndarray]  # by layer, integers (G, K, O / G) in float32


@dataclass(frozen=True)
class TensorReader:
    """Something that reads an activation as it is: elements (N, S) float32 of N images."""

    group: int
    values: np.ndarray

    def closeness(self, scales: Scales, _weights: Weights) -> float:
        """Correlation of the tensor itself."""
        scale = scales.activations[self.group]
        return mean_correlation(integers(self.values, scale, scales.ranges[self.group]) * scale, self.values)


@dataclass(frozen=True)
class LayerReader:
    """A convolution or dense layer.

    Attributes
    ----------
    layer, group : int
        Its node, and the scale group that it reads.
    rows : (N, G, R, K) float32
        What it reads at R positions of each image.
    weight : (G, K, O / G) float32
    outputs : (N, G, R, O / G) float32
        In the float network, without bias.
    limit : int
        Of integer weights.
    has_bias : bool
        It takes back what outputs are off on average.
    """

    layer: int
    group: int
    rows: np.ndarray
    weight: np.ndarray
    outputs: np.ndarray
    limit: int
    has_bias: bool

    def quantized_weight(self, scales: Scales) -> np.ndarray:
        """Integers (G, K, O / G) in float32."""
        return np.clip(np.rint(self.weight / self.weight_scale(scales)), -self.limit, self.limit)

    def weight_scale(self, scales: Scales) -> np.ndarray:
        """One for each output channel, (G, 1, O / G)."""
        groups, _, per_group = self.weight.shape
        return scales.weights[self.layer].reshape(groups, 1, per_group)

    def read(self, scales: Scales) -> np.ndarray:
        """Integers (N, G, R, K) in float32."""
        return integers(self.rows, scales.activations[self.group], scales.ranges[self.group])

    def closeness(self, scales: Scales, weights: Weights) -> float:
        """Correlation of its outputs, biases corrected."""
        x, w = self.read(scales), weights[self.layer]
        scale = np.float32(scales.activations[self.group]) * self.weight_scale(scales)
        result = (rows_product(x, w) * scale).astype(np.float32)
        if self.has_bias:
            result -= (result - self.outputs).mean(axis=(0, 2), keepdims=True, dtype=np.float64)
        return mean_correlation(result, self.outputs)


@dataclass(frozen=True)
class ProductReader:
    """A product of two activations.

    Attributes
    ----------
    groups : (int, int)
        The scale groups of the operands.
    first, second : (N, B, M, K), (N, B, K, P) float32
        B matrices of each image, and some rows of the first operand.
    outputs : (N, B, M, P) float32
        In the float network.
    order : Order, optional
        Of scores of attention.
    """

    groups: tuple[int, int]
    first: np.ndarray
    second: np.ndarray
    outputs: np.ndarray
    order: Order | None

    def closeness(self, scales: Scales, _weights: Weights) -> float:
        """Correlation of its result; of scores that of their softmax, less what a wrong order counts."""
        units = scales.activations[list(self.groups)]
        operands = zip((self.first, self.second), units, (scales.ranges[g] for g in self.groups), strict=True)
        a, b = (integers(*operand) for operand in operands)
        result = (product(a, b) * (units[0] * units[1])).astype(np.float32)
        if self.order is None:
            return mean_correlation(result, self.outputs)
        lost = self.order.loss(result, self.outputs)
        return mean_correlation(_shares(result), _shares(self.outputs)) - lost


def _shares(scores: np.ndarray) -> np.ndarray:
    """What softmax makes of them: where a large score saturates, the scores themselves hardly tell."""
    shares = exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


Reader = TensorReader | LayerReader | ProductReader


def integers(x: np.ndarray, scale: np.float32, range_: Range) -> np.ndarray:
    """Quantized, in float32."""
    q = np.divide(x, np.float32(scale), dtype=np.float32)
    np.rint(q, out=q)
    return np.clip(q, range_.lo, range_.hi, out=q)


def rows_product(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The same (N, G, R, P) for `rows` (N, G, R, K) that all meet one `weight` (G, K, P): one product of all images.

    Of an image there are few rows, for which BLAS would read the weight again.
    """
    images, groups, count, k = rows.shape
    whole = product(rows.swapaxes(0, 1).reshape(groups, images * count, k), weight)
    return whole.reshape(groups, images, count, -1).swapaxes(0, 1)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a @ b` of integers, exact."""
    greatest = float(np.abs(a).max(initial=0)) * float(np.abs(b).sum(axis=-2).max(initial=0))
    return sums_of_integers(a, b, greatest)
