"""How close a quantized network's outputs are to the float one's, each of the quantities in them by itself."""

from collections.abc import Iterable

import numpy as np
import tvm

from .network import PASS_THROUGH, Network, read_network
from .rewrite import operator_name, transposed_axes

Part = tuple[slice, ...]  # of an output, without the axis of images
Pairs = list[tuple[np.ndarray, np.ndarray]]
_PROBABILITIES = {"relax.sigmoid", "relax.nn.softmax"}
_SEVERAL = 3  # axes, at least, of what has places
_LEAST_OVERLAP, _AT = 0.99, 0.995  # what is asked of a mask where that cosine is asked of others


def output_loss(net: Network, pairs: Pairs) -> float:
    """How far outputs are from float32: 0 where they are equal, 1 less the cosine that is as far as the worst.

    Parts (see `part_cosines`) have their cosines. Masks, and sequences of probabilities, are wrong where they change,
    which a cosine hardly shows: they are as far as their overlap with float32's says, the sum of the smaller
    probabilities by that of the larger ones (Ruzicka's measure; of masks of 0 and 1 intersection over union). Where a
    cosine of 0.995 is asked, an overlap of 0.99 is; what lacks of an overlap grows as errors do, of a cosine as their
    squares.

    Parameters
    ----------
    net : Network
    pairs : list of (numpy.ndarray, numpy.ndarray)
        As for `part_cosines`.
    """
    overlaps = [overlap(*pair) for i, pair in zip(output_tensors(net), pairs, strict=True) if _is_mask(net, i)]
    lacking = (1 - min(overlaps, default=1.0)) / (1 - _LEAST_OVERLAP)
    return max(1 - min(part_cosines(net, [pairs]), default=1.0), (1 - _AT) * lacking**2)


def part_cosines(net: tvm.IRModule | Network, batches: Iterable[Pairs]) -> list[float]:
    """Cosine of each part of each output, averaged over all images.

    What a concatenation puts together, such as boxes of some hundred pixels and scores below 1, are parts: in one
    cosine of both the scores would not count.

    Parameters
    ----------
    net : tvm.IRModule or Network
        A canonical module.
    batches : iterable of list of (numpy.ndarray, numpy.ndarray)
        Of each output (N, *shape) the float network's and the quantized one's, as `compare_outputs` gives them.
    """
    parts = output_parts(net if isinstance(net, Network) else read_network(net))
    cosines: list[list[float]] = [[] for found in parts for _ in found]
    for pairs in batches:
        cut = [
            [(a[part], b[part]) for a, b in zip(*pair, strict=True)]
            for pair, found in zip(pairs, parts, strict=True)
            for part in found
        ]
        for each, images in zip(cosines, cut, strict=True):
            each += [_cosine(a, b) for a, b in images]
    return [float(np.mean(each)) for each in cosines]


def output_parts(net: Network) -> list[list[Part]]:
    """The parts of each output, those of a tuple one after the other."""
    return [_parts(net, i) for i in output_tensors(net)]


def output_tensors(net: Network) -> list[int]:
    """The nodes of the outputs, those of a tuple one after the other."""
    outputs: list[int] = []
    for i in net.outputs:
        outputs += [i] if net.nodes[i].is_tensor else net.nodes[i].inputs
    return outputs


def overlap(expected: np.ndarray, result: np.ndarray) -> float:
    """Of probabilities: the smaller ones by the larger ones. 1 where all are 0."""
    smaller, larger = (np.sum(f(expected, result), dtype=np.float64) for f in (np.minimum, np.maximum))
    return float(smaller / larger) if larger else 1.0


def _is_mask(net: Network, i: int) -> bool:
    if len(net.nodes[i].shape) < _SEVERAL:
        return False
    while net.nodes[i].op in PASS_THROUGH - {"concat"}:
        i = net.nodes[i].inputs[0]
    return operator_name(net.nodes[i].expr) in _PROBABILITIES


def _parts(net: Network, i: int) -> list[Part]:
    node = net.nodes[i]
    if node.op == "permute_dims":
        return [tuple(part[axis] for axis in transposed_axes(node.expr)) for part in _parts(net, node.inputs[0])]
    if node.op != "concat":
        return [tuple(slice(0, size) for size in node.shape)]
    axis, start, found = int(node.expr.attrs.axis) % len(node.shape), 0, []
    for operand in node.inputs:
        for part in _parts(net, operand):
            inside = slice(part[axis].start + start, part[axis].stop + start)
            found.append((*part[:axis], inside, *part[axis + 1 :]))
        start += net.nodes[operand].shape[axis]
    return found


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two zero vectors 1, of one 0."""
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    lengths = np.sqrt(np.sum(a * a)) * np.sqrt(np.sum(b * b))  # BLAS adds up in another order on each processor
    return float(np.sum(a * b) / lengths) if lengths else float(not a.any() and not b.any())
