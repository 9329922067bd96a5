"""Samples of what is read in the float network, in one pass over the images."""

from collections.abc import Iterator

import numpy as np

from ..arithmetic.exact_product import exact_product
from ..graph.network import PASS_THROUGH, Network
from ..graph.rewrite import operator_name
from ..graph.saturation import saturated
from ..quantized.float_executor import Value
from ..quantized.layer_matrices import columns, grouped_weight, positions
from ..quantized.problem import Problem
from ..quantized.progress import Progress
from .correlation import Order
from .readers import LayerReader, ProductReader, Reader, TensorReader

_WORK = 2**23  # multiplications that one candidate takes in a layer
_ROWS = (2, 64)  # of a layer, in an image
_ELEMENTS = 2**16  # of these
_MATRIX_ELEMENTS = 2**13  # of a product's operand
_MATRIX_ROWS = 16
_TENSOR_ELEMENTS = 2048
_PAIRS = 64

_Term = tuple[int, int, int]  # a consumer (-1: nothing special), the tensor that it reads, and which operand that is


def sampled_readers(problem: Problem, order: tuple[float, float], progress: Progress) -> list[list[Reader]]:
    """For each scale group, what reads it, with samples of all images.

    Parameters
    ----------
    problem : Problem
    order : (float, float)
        Gamma and theta of `Order`.
    progress : callable (done: float from 0 to 1, message: str)
    """
    net, points = problem.net, problem.points
    terms = [list(_terms(problem, g)) for g in range(len(points.scale_groups))]
    reads: dict[int, list[_Term]] = {}
    for term in dict.fromkeys(term for each in terms for term in each):
        reads.setdefault(term[1], []).append(term)

    def measure(i: int, value: Value) -> dict[_Term, np.ndarray] | None:
        if i not in reads or not isinstance(value, np.ndarray):
            return None
        value = saturated(value, problem.ends.get(i))
        return {term: _sample(problem, term, value) for term in reads[i]}

    samples: dict[_Term, list[np.ndarray]] = {}
    for found in problem.measured(measure, progress, "samples of activations"):
        for each in found.values():
            for term, sample in each.items():
                samples.setdefault(term, []).append(sample)
    joined = {term: np.concatenate(parts) for term, parts in samples.items()}
    products: dict[int, ProductReader] = {}
    for consumer, _, operand in joined:
        if consumer >= 0 and net.nodes[consumer].op == "matmul" and operand == 0:
            products[consumer] = _product(problem, consumer, joined, order)

    def reader(group: int, term: _Term) -> Reader:
        consumer = term[0]
        if consumer < 0:
            return TensorReader(group, joined[term])
        if consumer in products:
            return products[consumer]
        return _layer(problem, group, consumer, joined[term])

    return [
        list({id(r): r for r in (reader(g, t) for t in each if t in joined)}.values()) for g, each in enumerate(terms)
    ]


def _terms(problem: Problem, group: int) -> Iterator[_Term]:
    net, points = problem.net, problem.points
    found = False
    for consumer in points.scale_groups[group].consumers:
        node = net.nodes[consumer]
        whole = node.op == "matmul" and all(j in points.scale_group_of for j in node.inputs)
        for j in node.inputs:
            if points.scale_group_of.get(j) == group:
                found = True
                if node.op in ("conv2d", "dense"):
                    yield consumer, j, 0
                elif whole:
                    yield from ((consumer, each, place) for place, each in enumerate(node.inputs))
                else:
                    yield -1, j, 0
    if not found:
        yield from ((-1, i, 0) for i in points.scale_groups[group].producers)


def _sample(problem: Problem, term: _Term, value: np.ndarray) -> np.ndarray:
    """Of one term, in some images (N, ...)."""
    consumer, tensor, operand = term
    net = problem.net
    rng = np.random.default_rng(net.place(tensor if consumer < 0 else consumer))
    if consumer < 0:
        return np.stack([_elements(x.reshape(-1), rng) for x in value])
    if net.nodes[consumer].op == "matmul":
        return _matrices(value, operand, rng)
    return np.stack([_rows(problem, consumer, x, rng) for x in value])


def _elements(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some, and the largest: a few large ones may be what others go by."""
    if x.size <= _TENSOR_ELEMENTS:
        return x
    at = rng.choice(x.size, _TENSOR_ELEMENTS, replace=False)
    at[0] = np.abs(x).argmax()
    return x[at]


def _rows(problem: Problem, layer: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a layer reads at some positions of one image, (G, R, K)."""
    node = problem.net.nodes[layer]
    groups, per_group, k = grouped_weight(node, node.constant).shape
    allowed = min(_WORK // (problem.count * groups * per_group * k), _ELEMENTS // (groups * k))
    count, rows = positions(node), int(np.clip(allowed, *_ROWS))
    if rows >= count:
        return np.ascontiguousarray(columns(node, x, slice(None)).transpose(0, 2, 1))
    at = rng.choice(count, rows, replace=False)
    if node.op == "dense":  # the token that has the largest: such decide what saturates
        at[0] = np.abs(x.reshape(count, -1)).max(axis=1).argmax()
    return np.ascontiguousarray(columns(node, x, at).transpose(0, 2, 1))


def _matrices(value: np.ndarray, operand: int, rng: np.random.Generator) -> np.ndarray:
    """Some of the matrices of each image, others in each, (N, B, M, K), and some rows of the first operand."""
    value = value.reshape(len(value), -1, *value.shape[-2:])
    images, matrices, rows, _ = value.shape
    which = rng.random((images, matrices)).argsort(axis=1)
    value = value[np.arange(images)[:, None], which[:, : max(1, _MATRIX_ELEMENTS // max(value[0, 0].size, 1))]]
    if operand == 0 and rows > _MATRIX_ROWS:
        at = rng.random((images, rows)).argsort(axis=1)[:, :_MATRIX_ROWS]
        at[:, 0] = np.abs(value).max(axis=(1, 3)).argmax(axis=1)
        value = np.take_along_axis(value, at[:, None, :, None], axis=2)
    return np.ascontiguousarray(value)


def _layer(problem: Problem, group: int, layer: int, rows: np.ndarray) -> LayerReader:
    node = problem.net.nodes[layer]
    weight = np.ascontiguousarray(grouped_weight(node, node.constant).transpose(0, 2, 1), np.float32)
    outputs = exact_product(rows, weight).astype(np.float32)
    has_bias = problem.net.bias_node(layer) is not None
    return LayerReader(layer, group, rows, weight, outputs, problem.weight_limit(layer), has_bias)


def _product(problem: Problem, node: int, joined: dict[_Term, np.ndarray], order: tuple[float, float]) -> ProductReader:
    operands = problem.net.nodes[node].inputs
    first, second = (joined[node, j, place] for place, j in enumerate(operands))
    count = min(first.shape[1], second.shape[1])
    first, second = first[:, :count], second[:, :count]
    outputs = exact_product(first, second).astype(np.float32)
    first_group, second_group = (problem.points.scale_group_of[j] for j in operands)
    ranked = order[0] > 0 and outputs.shape[-1] > 1 and _feeds_softmax(problem.net, node)
    return ProductReader(
        (first_group, second_group),
        first,
        second,
        outputs,
        Order(_pairs(outputs.shape[-1]), *order) if ranked else None,
    )


def _feeds_softmax(net: Network, node: int) -> bool:
    """Whether results of a node are scores of attention, perhaps scaled or masked before."""
    for user in net.users[node]:
        if operator_name(net.nodes[user].expr) == "relax.nn.softmax":
            return True
        if net.nodes[user].op in PASS_THROUGH | {"pointwise", "offset"} and _feeds_softmax(net, user):
            return True
    return False


def _pairs(length: int) -> np.ndarray:
    """Places of two different scores of a row (2, S): all, or some at random."""
    pairs = (
        np.stack(np.triu_indices(length, 1))
        if length <= 2**10
        else np.random.default_rng(0).integers(length, size=(2, 2**14))
    )
    pairs = pairs[:, pairs[0] != pairs[1]]
    at = np.random.default_rng(length).permutation(pairs.shape[1])[:_PAIRS]
    return pairs[:, np.sort(at)]
