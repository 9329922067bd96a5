"""Queries, keys and values of attention get ranges that one scale serves better."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tvm

from ..graph.network import Network, read_network
from ..graph.rebuild import Constants, replace_constants
from ..graph.relax_pass import relax_pass
from ..quantized.float_executor import FloatExecutor
from ..quantized.parallel import single_threaded_blas
from .preparation import Preparation

_EVEN = 0.5  # exponent for values: what is left to do has the layer that reads them
_LARGEST = 2.0**8  # factor


@relax_pass
class EqualizeHeads(Preparation):
    """Scale columns of the dense layers that make queries, keys and values; what is computed stays, but for rounding.

    They mostly come from one layer, and have one scale. Each column of queries is multiplied by a factor and that of
    keys which meets it is divided by it, so that both have the same range: their products stay. Columns of values are
    multiplied by factors that the rows of the layer that reads them take up, and brought to the range of the others.
    That is cross-layer equalization (arXiv 1906.04721) through products of matrices.

    Parameters are those of `Preparation`.
    """

    @single_threaded_blas
    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """Replace weights and biases."""
        net = read_network(mod)
        matrices = [i for i, node in enumerate(net.nodes) if node.op == "matmul"]
        if not matrices:
            return mod
        problem = self.problem(mod)
        net = problem.net
        columns = _Columns(net, problem.executor)
        pairs = [pair for i in matrices if (pair := _pair(columns, i)) is not None]
        values = [value for i in matrices if (value := _value(columns, i)) is not None]
        roots = {part.root for pair in pairs for part in pair} | {part.root for part, *_ in values}
        largest = {i: np.zeros(net.nodes[i].shape[1]) for i in roots}

        def measure(i: int, x: np.ndarray) -> np.ndarray | None:
            return np.abs(x).max(axis=(0, 1)) if i in roots else None

        for each in problem.measured(measure, self.progress, "ranges of heads"):
            for i, found in each.items():
                largest[i] = np.maximum(largest[i], found)
        return replace_constants(mod, net, _scaled(net, pairs, values, largest))


@dataclass(frozen=True)
class _Part:
    """The columns of a dense layer's result, with its bias, that an operand has along its axis of channels."""

    root: int
    columns: np.ndarray  # of each (matrix, channel), in order


class _Columns:
    """Which columns of dense layers operators read through moves."""

    def __init__(self, net: Network, executor: FloatExecutor) -> None:
        self.net, self.executor = net, executor

    def operand(self, node: int, which: int, axis: int) -> _Part | None:
        """Of an operand of a product, along an axis; None where others read them, or they depend on the other axis."""
        root, moves = self.net.nodes[node].inputs[which], []
        while self.net.nodes[root].op in _MOVES:
            moves.append(root)
            root = self.net.nodes[root].inputs[0]
        made = self.net.nodes[root]
        dense = made.inputs[0] if made.op == "bias_add" else root
        if self.net.nodes[dense].op != "dense" or root in self.net.outputs:
            return None
        places = np.arange(int(np.prod(made.shape))).reshape(1, *made.shape)
        readers = np.zeros(made.shape[1], int)
        for read in self._reads(root, places):
            readers += np.isin(np.arange(made.shape[1]), read % made.shape[1])
        for move in reversed(moves):
            places = self.executor.evaluate(self.net.nodes[move], places)
        columns = np.moveaxis(places % made.shape[1], axis, -1)
        columns = columns.reshape(-1, *columns.shape[-2:])  # matrices, the other axis, channels
        found = columns[:, 0].ravel()
        if (columns != columns[:, :1]).any() or len(np.unique(found)) < len(found) or (readers[found] != 1).any():
            return None
        return _Part(root, found)

    def reader(self, node: int) -> tuple[int, np.ndarray] | None:
        """The dense layer that alone reads a product, and which (matrix, column) each of its input channels is."""
        shape = self.net.nodes[node].shape
        places = np.arange(int(np.prod(shape))).reshape(1, *shape)
        user = self.net.sole_user(node)
        while user is not None and self.net.nodes[user].op in _MOVES:
            places = self.executor.evaluate(self.net.nodes[user], places)
            user = self.net.sole_user(user)
        if user is None or self.net.nodes[user].op != "dense":
            return None
        rows, columns = shape[-2:]
        channels = places[0] // (rows * columns) * columns + places[0] % columns
        return None if (channels != channels[:1]).any() else (user, channels[0])

    def _reads(self, node: int, places: np.ndarray) -> Iterator[np.ndarray]:
        for user in self.net.users[node]:
            if self.net.nodes[user].op in _MOVES:
                yield from self._reads(user, self.executor.evaluate(self.net.nodes[user], places))
            else:
                yield from [places] * self.net.nodes[user].inputs.count(node)
        if node in self.net.outputs:
            yield places


def _pair(columns: _Columns, node: int) -> tuple[_Part, _Part] | None:
    """Queries and keys of a product, column by column."""
    first, second = columns.operand(node, 0, -1), columns.operand(node, 1, -2)
    return None if first is None or second is None else (first, second)


def _value(columns: _Columns, node: int) -> tuple[_Part, int, np.ndarray] | None:
    """Values of a product, the layer that reads it, and the value's column of each of that one's input channels."""
    value, reader = columns.operand(node, 1, -1), columns.reader(node)
    return None if value is None or reader is None else (value, *reader)


def _scaled(
    net: Network,
    pairs: list[tuple[_Part, _Part]],
    values: list[tuple[_Part, int, np.ndarray]],
    largest: dict[int, np.ndarray],
) -> dict[int, Constants]:
    factors = {i: np.ones(len(found)) for i, found in largest.items()}
    ranges = dict.fromkeys(largest, 0.0)
    for first, second in pairs:
        a, b = (largest[part.root][part.columns] for part in (first, second))
        ratio = _ratio(b, a) ** 0.5
        factors[first.root][first.columns], factors[second.root][second.columns] = ratio, 1 / ratio
        for part, found in ((first, a * ratio), (second, b / ratio)):
            ranges[part.root] = max(ranges[part.root], float(found.max()))
    constants: dict[int, Constants] = {}
    for value, reader, channels in values:
        found = largest[value.root][value.columns]
        ratio = _ratio(np.full_like(found, found.max()), found) ** _EVEN
        end = float((found * ratio).max())
        ratio *= ranges[value.root] / end if ranges[value.root] and end else 1.0
        factors[value.root][value.columns] = ratio
        constants[reader] = net.nodes[reader].constant.astype(np.float64) / ratio[channels][:, None]
    for i, by in factors.items():
        node = net.nodes[i]
        if node.op == "bias_add":
            constants[i] = node.constant * by
            i, node = node.inputs[0], net.nodes[node.inputs[0]]
        before = constants.get(i, node.constant)
        constants[i] = before * by
    return constants


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients within bounds; 1 where nothing is."""
    known = (above > 0) & (below > 0)
    return np.clip(np.divide(above, below, out=np.ones_like(above), where=known), 1 / _LARGEST, _LARGEST)


_MOVES = {"reshape", "permute_dims", "strided_slice"}
