"""How far a quantized network's outputs are from the float one's, without labels: what all scales are searched by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..arithmetic.exponential import exp
from ..graph.network import PASS_THROUGH, Network
from ..graph.output_parts import Part, output_parts, output_tensors
from ..graph.rewrite import operator_name

Measure = Literal["cosine", "entropy"]

# Of numbers (N, size), the float network's and the quantized one's: the loss of each image, and its gradients.
Compare = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_LEAST = 1e-12  # of a probability


class OutputDivergence:
    """The mean over the parts of the network's outputs of what quantization changes in them.

    It is 1 less the cosine of centred numbers, averaged over the images; of what a softmax has made of scores, of their
    logarithms; of a single number the square error, in parts of its mean square. By the measure "entropy", it is the
    relative entropy of scores and probabilities, one for each class: that is what the images tell whose class is in
    doubt, so it takes more of them.

    Parameters
    ----------
    net : Network
    expected : sequence of numpy.ndarray (N, ...)
        The float network's outputs, those of a tuple one after the other.
    measure : {"cosine", "entropy"}
    """

    def __init__(self, net: Network, expected: Sequence[np.ndarray], measure: Measure = "cosine") -> None:
        self._parts: list[_Compared] = []
        for k, (i, x, places) in enumerate(zip(output_tensors(net), expected, output_parts(net), strict=True)):
            of_classes = x[0].size > 1 and max(x.shape[1:]) == x[0].size and x.dtype.kind == "f"
            probable = of_classes and _is_softmax(net, i)
            compare = _entropy if of_classes and measure == "entropy" else _angle if x[0].size > 1 else _square
            for place in [(slice(None),)] if of_classes else places if x.size else []:
                part = _Compared(k, place, probable, compare)
                part.expected = part.read(x)
                self._parts.append(part)

    def __call__(self, results: Sequence[np.ndarray]) -> float:
        """Of the quantized network's outputs, in the form of the float one's; infinite where they are no numbers."""
        losses = []
        for part in self._parts:
            numbers = part.read(results[part.output])
            losses.append(part.compare(part.expected, numbers)[0].mean() if np.isfinite(numbers).all() else np.inf)
        return float(np.mean(losses)) if losses else 0.0

    def gradients(self, results: Sequence[np.ndarray], images: np.ndarray) -> list[np.ndarray]:
        """Of the sum of some images' losses, by their outputs, which no softmax has made: float32."""
        found = [np.zeros(x.shape, np.float32) for x in results]
        for part in self._parts:
            _, gradients = part.compare(part.expected[images], part.read(results[part.output]))
            place = found[part.output][(slice(None), *part.place)]
            place[...] = (gradients / len(self._parts)).reshape(place.shape)
        return found


@dataclass
class _Compared:
    """A part of an output."""

    output: int
    place: Part
    is_probable: bool
    compare: Compare
    expected: np.ndarray = None  # type: ignore[assignment]  # (N, size), as `read` gives it

    def read(self, x: np.ndarray) -> np.ndarray:
        numbers = x[(slice(None), *self.place)].reshape(len(x), -1).astype(np.float64)
        return np.log(np.maximum(numbers, _LEAST)) if self.is_probable else numbers


def _is_softmax(net: Network, i: int) -> bool:
    while net.nodes[i].op in PASS_THROUGH - {"concat"}:
        i = net.nodes[i].inputs[0]
    return operator_name(net.nodes[i].expr) == "relax.nn.softmax"


def _angle(expected: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - cosine of centred numbers; of two zeros 0, of one 1."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (expected, result))
    lengths = [np.sqrt(np.sum(x * x, axis=1, keepdims=True)) for x in (a, b)]
    a, b = (
        np.divide(x, length, out=np.zeros_like(x), where=length > 0) for x, length in zip((a, b), lengths, strict=True)
    )
    both = (lengths[0] == 0) & (lengths[1] == 0)
    cosine = np.where(both, 1, np.sum(a * b, axis=1, keepdims=True))
    gradients = np.divide(cosine * b - a, lengths[1], out=np.zeros_like(b), where=lengths[1] > 0)
    return 1 - cosine[:, 0], gradients


def _entropy(expected: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative entropy of what softmax makes of these."""
    a, b = map(_log_softmax, (expected, result))
    return np.sum(exp(a) * (a - b), axis=1), exp(b) - exp(a)


def _square(expected: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missed = result - expected
    size = max(float(np.mean(expected * expected)), np.finfo(np.float32).tiny)
    return np.sum(missed * missed, axis=1) / size, 2 * missed / size


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.sum(exp(x), axis=1, keepdims=True))
