"""Reshapes, transposes and slices go behind what works element by element, so that this stands beside its layer."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ..graph.pointwise import FUNCTIONS
from ..graph.relax_pass import relax_pass
from ..graph.rewrite import Graph, NewValues, array, operator_name, rewrite, shape, transposed_axes, variables

_ELEMENTWISE = {*FUNCTIONS, "relax.clip", "relax.nn.relu"}
_LAYERS = {"relax.nn.conv2d", "relax.matmul"}
_KEPT = 0.75  # of a tensor, at least, where a slice moves
_AXIS_OF_ROW = (0, 1, 3)  # of NCHW, for each axis of NCW (and from its end)
_LARGEST = 2**24  # elements up to which a constant is spread over a tensor to be moved


@relax_pass
class SinkReshapes:
    """Move ``reshape``, ``permute_dims`` and ``strided_slice`` behind element-wise operators.

    Of one operand, or of several that are moved alike; constants are moved the other way, as long as that leaves them
    small. Scales, shifts and bounds then follow the layer that a reshape stood behind, and can be folded into it. So do
    those behind a ``concat`` of layers that nothing else reads, and sums behind dense layers. Means over the one axis
    that is left of an image come before the reshape, too, means over tokens or the pixels of NHWC become such of NCHW,
    means over height or width alone become poolings, and adjacent transposes become one.
    """

    def transform_module(self, mod: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite ``main``."""
        return rewrite(mod, _sink)


def _sink(graph: Graph, var: relax.Var, value: relax.Expr) -> NewValues | None:
    name = operator_name(value)
    rules = _ELEMENTWISE_RULES if name in _ELEMENTWISE else _RULES.get(name, ())
    return next(({var: moved} for rule in rules if (moved := rule(graph, value)) is not None), None)


@dataclass(frozen=True)
class _Move:
    """What a reshape, transpose or slice does to a tensor: equal for two that do the same to tensors of one shape."""

    name: str
    source: tuple[int, ...]
    result: tuple[int, ...]
    how: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, call: relax.Call) -> "_Move":
        how: tuple[tuple[int, ...], ...] = ()
        if call.op.name == "relax.permute_dims":
            how = (transposed_axes(call),)
        elif call.op.name == "relax.strided_slice":
            how = tuple(tuple(int(value) for value in arg) for arg in call.args[1:])
        return cls(call.op.name, shape(call.args[0]), shape(call), how)

    def __call__(self, data: relax.Expr) -> relax.Expr:
        """The same move of another tensor."""
        if self.name == "relax.reshape":
            return relax.op.reshape(data, self.result)
        if self.name == "relax.permute_dims":
            return relax.op.permute_dims(data, self.how[0])
        return relax.op.strided_slice(data, *map(list, self.how))

    @property
    def keeps_most(self) -> bool:
        """Whether little is computed in vain where it comes last."""
        return bool(np.prod(self.result) >= _KEPT * np.prod(self.source))

    def back(self, constant: np.ndarray) -> np.ndarray | None:
        """A constant that meets the source as this one (of the result's rank) meets the result, if it stays small."""
        if constant.size == 1:
            return constant.reshape((1,) * len(self.source))
        if self.name == "relax.strided_slice":
            axes = [axis % len(self.source) for axis in self.how[0]]
            return constant if all(constant.shape[axis] == 1 for axis in axes) else None
        if self.name == "relax.permute_dims":
            return constant.transpose(np.argsort(self.how[0]))
        if np.prod(self.source) > _LARGEST:
            return None
        moved = _without_repetition(np.broadcast_to(constant, self.result).reshape(self.source))
        return moved if moved.size <= constant.size or max(moved.shape) == moved.size else None


def _behind_moves(graph: Graph, call: relax.Call) -> relax.Expr | None:
    operands = [arg for arg in call.args if isinstance(arg, relax.Var)]
    moves = [_moved(graph, arg) for arg in operands]
    found = [move for move in moves if move is not None]
    if not found or len(found) < len(moves) or any(shape(move) != shape(call) for move in found):
        return None
    first = _Move.of(found[0])
    if any(_Move.of(other) != first for other in found[1:]) or not first.keeps_most:
        return None
    inner = _rebuilt(call, [move.args[0] for move in found], first.back)
    return None if inner is None else first(inner)


def _moved(graph: Graph, expr: relax.Expr) -> relax.Call | None:
    """The move that an operand is the result of, and that others will not miss."""
    sole = graph.sole_call(expr, *_MOVES)
    return _row(graph, expr) if sole is None else sole


def _beside_layer(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """The sum of a tensor and a dense layer's reshaped result, done where the layer's result is: a residual of it."""
    if call.op.name != "relax.add" or any(not isinstance(arg, relax.Var) for arg in call.args):
        return None
    for layer, other in (list(call.args)[::-1], list(call.args)):
        reshaped = graph.sole_call(layer, "relax.reshape")
        if reshaped is None or shape(other) != shape(call) or shape(layer) != shape(call):
            continue
        inner = reshaped.args[0]
        unpadded = [extent for extent in shape(call) if extent > 1]
        if len(shape(inner)) == 2 and unpadded == [e for e in shape(inner) if e > 1] and _is_layer(graph, inner):
            return relax.op.reshape(relax.op.add(relax.op.reshape(other, shape(inner)), inner), shape(call))
    return None


def _row(graph: Graph, expr: relax.Expr) -> relax.Call | None:
    """A reshape of an image of one row, NCHW, to NCW: as good as none, so that others may read its result, too."""
    call = graph.call(expr, "relax.reshape")
    if call is None or len(shape(call)) != 3:
        return None
    batch, channels, width = shape(call)
    return call if shape(call.args[0]) == (batch, channels, 1, width) else None


def _of_images(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """`concat` or `strided_slice` of rows, done with the images."""
    joins = call.op.name == "relax.concat"
    operands = list(call.args[0].fields) if joins and isinstance(call.args[0], relax.Tuple) else [call.args[0]]
    images = [row.args[0] for row in (_row(graph, operand) for operand in operands) if row is not None]
    if len(images) < len(operands):
        return None
    if joins:
        return relax.op.reshape(relax.op.concat(images, _AXIS_OF_ROW[int(call.attrs.axis)]), shape(call))
    axes, *how = ([int(value) for value in arg] for arg in call.args[1:])
    sliced = relax.op.strided_slice(images[0], [_AXIS_OF_ROW[axis] for axis in axes], *how)
    return relax.op.reshape(sliced, shape(call))


def _behind_concat(graph: Graph, call: relax.Call) -> relax.Expr | None:
    operands = [arg for arg in call.args if isinstance(arg, relax.Var)]
    joined = graph.sole_call(operands[0], "relax.concat") if len(operands) == 1 else None
    fields = joined.args[0].fields if joined is not None and isinstance(joined.args[0], relax.Tuple) else []
    if joined is None or shape(joined) != shape(call) or not all(_is_layer(graph, field) for field in fields):
        return None
    axis = int(joined.attrs.axis) % len(shape(call))
    ends = np.cumsum([shape(field)[axis] for field in fields])
    parts = []
    for field, end in zip(fields, ends, strict=True):
        part = slice(int(end) - shape(field)[axis], int(end))
        parts.append(_rebuilt(call, [field], functools.partial(_part, axis=axis, part=part)))
    known = [part for part in parts if part is not None]
    return relax.op.concat(known, axis) if len(known) == len(parts) else None


def _is_layer(graph: Graph, expr: relax.Expr) -> bool:
    """Whether it is the result of a layer, but for constants and functions of each element, that nothing else reads."""
    call = graph.sole_call(expr, *_LAYERS, *_ELEMENTWISE)
    if call is None or call.op.name in _LAYERS:
        return call is not None
    operands = [arg for arg in call.args if isinstance(arg, relax.Var)]
    return len(operands) == 1 and _is_layer(graph, operands[0])


def _rebuilt(
    call: relax.Call, operands: Sequence[relax.Expr], back: Callable[[np.ndarray], np.ndarray | None]
) -> relax.Expr | None:
    """The operator on other operands in the place of its variables, and its constants moved."""
    rank, args, given = len(shape(call)), [], iter(operands)
    if call.op.name == "relax.nn.prelu":
        return _prelu(call, next(given), back)
    for arg in call.args:
        constant = array(arg)
        if isinstance(arg, relax.Var):
            args.append(next(given))
        elif constant is None:  # the numbers of a clip
            args.append(arg)
        else:
            moved = back(constant.reshape((1,) * (rank - constant.ndim) + constant.shape))
            if moved is None:
                return None
            args.append(relax.const(np.ascontiguousarray(moved), str(moved.dtype)))
    return relax.Call(call.op, args, call.attrs)


def _prelu(call: relax.Call, operand: relax.Expr, back: Callable[[np.ndarray], np.ndarray | None]) -> relax.Expr | None:
    slopes, rank = array(call.args[1]), len(shape(call))
    if slopes is None:
        return None
    axis = int(call.attrs.axis) % rank
    moved = back(slopes.reshape([-1 if i == axis else 1 for i in range(rank)]))
    if moved is None or moved.ndim < 2 or moved.size != moved.shape[1]:
        return None
    return relax.op.nn.prelu(operand, relax.const(np.broadcast_to(moved.ravel(), shape(operand)[1]).copy()), 1)


def _one_transpose(graph: Graph, call: relax.Call) -> relax.Expr | None:
    inner = graph.call(call.args[0], "relax.permute_dims")
    if inner is None:
        return None
    first, second = transposed_axes(inner), transposed_axes(call)
    axes = [first[axis] for axis in second]
    return inner.args[0] if axes == sorted(axes) else relax.op.permute_dims(inner.args[0], axes)


def _image_mean(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """The mean over W of an NCW tensor that is an image of one row."""
    source = graph.call(call.args[0], "relax.reshape")
    extents = shape(call.args[0])
    axes = [int(axis) % len(extents) for axis in call.attrs.axis or ()]
    if source is None or axes != [2] or shape(source.args[0]) != (*extents[:2], 1, *extents[2:]):
        return None
    return relax.op.reshape(relax.op.mean(source.args[0], [2, 3], keepdims=True), shape(call))


def _tokens_mean(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """The mean over tokens, (N, T, C), or over the pixels of NHWC: over height and width of the NCHW that these are."""
    extents = shape(call.args[0])
    rank = len(extents)
    if rank not in (3, 4) or sorted(int(axis) % rank for axis in call.attrs.axis or ()) != [*range(1, rank - 1)]:
        return None
    if not _follows_layer(graph, call.args[0]):
        return None
    moved = relax.op.permute_dims(call.args[0], [0, rank - 1, *range(1, rank - 1)])
    image = moved if rank == 4 else relax.op.reshape(moved, (extents[0], extents[2], extents[1], 1))
    return relax.op.reshape(relax.op.mean(image, [2, 3], keepdims=True), shape(call))


def _side_mean(graph: Graph, call: relax.Call) -> relax.Expr | None:
    """The mean over the height or the width of NCHW, as in text recognizers: a pooling of whole columns or rows."""
    extents = shape(call.args[0])
    axes = [int(axis) % len(extents) for axis in call.attrs.axis or ()]
    if len(extents) != 4 or axes not in ([2], [3]) or not _follows_layer(graph, call.args[0]):
        return None
    window = [extent if axis in axes else 1 for axis, extent in enumerate(extents)][2:]
    return relax.op.reshape(relax.op.nn.avg_pool2d(call.args[0], window, window), shape(call))


def _follows_layer(graph: Graph, expr: relax.Expr) -> bool:
    """Whether there is a layer somewhere before it: what no layer feeds stays float, and need not move."""
    pending, seen = [expr], set[relax.Var]()
    while pending:
        found = variables(pending.pop()) - seen
        seen |= found
        values = [graph.values[var] for var in found if var in graph.values]
        if any(operator_name(value) in _LAYERS for value in values):
            return True
        pending += values
    return False


def _without_repetition(values: np.ndarray) -> np.ndarray:
    """With an extent of 1 along each axis along which nothing changes."""
    for axis in range(values.ndim):
        first = values.take([0], axis)
        if (values == first).all():
            values = first
    return values


def _part(constant: np.ndarray, axis: int, part: slice) -> np.ndarray:
    """Of a constant, what meets a part of a tensor along an axis."""
    return constant if constant.shape[axis] == 1 else constant[(slice(None),) * axis + (part,)]


_MOVES = ("relax.reshape", "relax.permute_dims", "relax.strided_slice")
_Rules = tuple[Callable[[Graph, relax.Call], relax.Expr | None], ...]
_ELEMENTWISE_RULES: _Rules = (_behind_moves, _behind_concat, _beside_layer)
_RULES: dict[str | None, _Rules] = {
    "relax.permute_dims": (_one_transpose,),
    "relax.mean": (_image_mean, _tokens_mean, _side_mean),
    **dict.fromkeys(("relax.concat", "relax.strided_slice"), (_of_images,)),
}
