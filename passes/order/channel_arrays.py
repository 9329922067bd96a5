"""Which channels of an annotated module are made and read in one order: arrays of them, from layer to layer.

Channels are axis 1 of images, (N, C, H, W), and the last axis of rows, (N, C) or (N, T, C).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ..graph.network import is_of_rows
from ..graph.pointwise import FUNCTIONS
from ..graph.rewrite import array, operator_name, shape, variables

# By which each channel is computed for itself.
_OF_PIXELS = {"relax.nn.max_pool2d", "relax.nn.avg_pool2d", "relax.image.resize2d"}
_EXACT = {  # rounded alike in vectors and in what is left of them
    "relax.abs",
    "relax.add",
    "relax.clip",
    "relax.divide",
    "relax.maximum",
    "relax.minimum",
    "relax.multiply",
    "relax.negative",
    "relax.nn.leakyrelu",
    "relax.nn.prelu",
    "relax.nn.relu",
    "relax.sqrt",
    "relax.subtract",
}
_PAIR = {"relax.quantize", "relax.dequantize"}


@dataclass(frozen=True)
class Part:
    """Some channels of a tensor.

    Attributes
    ----------
    array : int
        See `ChannelArrays`.
    repeat : int
        How many elements side by side each channel has: pixels that were flattened, or what a depthwise convolution
        makes of it.
    """

    array: int
    repeat: int = 1


Parts = tuple[Part, ...]


class ChannelArrays:
    """Arrays of channels, each of which may stand in any order, the same wherever it stands.

    Parameters
    ----------
    mod : tvm.IRModule
        Annotated.

    Attributes
    ----------
    parts : dict of relax.Var to tuple of Part
        What the channels of each tensor consist of. An array comes but once, or it is frozen.
    sizes : list of int
        Channels of each array.
    frozen : set of int
        Those whose order something else knows, as the network's inputs and outputs do.
    """

    def __init__(self, mod: tvm.IRModule) -> None:
        self.parts: dict[relax.Var, Parts] = {}
        self.sizes: list[int] = []
        self.frozen: set[int] = set()
        self._parent: list[int] = []
        self._source: dict[relax.Var, relax.Var] = {}  # of functions of one tensor of integers: that tensor
        self.values = dict(_bindings(mod))
        self._users = Counter(var for value in self.values.values() for var in variables(value))
        self._quantized = {value.args[0] for value in self.values.values() if operator_name(value) == "relax.quantize"}
        for param in mod["main"].params:
            self._freeze(self._fresh(param))
        for var, value in self.values.items():
            if isinstance(value, relax.Var):
                self.parts[var] = self.parts.get(value, ())
            elif not _is_constant(value):
                self._read(var, value)
        for var in variables(mod["main"].body.body):
            self._freeze(self.parts.get(var, ()))
        self.parts = {var: tuple(self._now(part) for part in parts) for var, parts in self.parts.items()}
        self.frozen = {self._root(i) for i in self.frozen}
        for parts in self.parts.values():
            arrays = [part.array for part in parts]
            self.frozen.update(i for i in arrays if arrays.count(i) > 1)

    def constant(self, arg: relax.Expr) -> np.ndarray | None:
        """The numbers of a constant argument, quantized ones as integers."""
        value = self.values.get(arg, arg) if isinstance(arg, relax.Var) else arg
        return array(value.args[0]) if _is_constant(value) else array(value)

    def extent(self, part: Part) -> int:
        """How many elements of the axis it has."""
        return self.sizes[part.array] * part.repeat

    def order(self, parts: Parts, orders: Mapping[int, np.ndarray]) -> np.ndarray:
        """Which element is to stand at each place along the axis of channels, given the order of some arrays."""
        found, start = [], 0
        for part in parts:
            channels = orders.get(part.array, np.arange(self.sizes[part.array]))
            found.append(start + (channels[:, None] * part.repeat + np.arange(part.repeat)).reshape(-1))
            start += self.extent(part)
        return np.concatenate(found)

    def constants(self, var: relax.Var) -> Iterator[tuple[int, dict[int, Parts]]]:
        """Of what a variable is bound to: which arguments are constants, and which of their axes are channels."""
        call, own = self.values[var], self.parts.get(var, ())
        for i, arg in enumerate(call.args if isinstance(call, relax.Call) and own else ()):
            constant = self.constant(arg)
            if constant is None or constant.size == 1:
                continue
            axis = _axis(len(shape(call))) - (len(shape(call)) - constant.ndim)
            if makes(call):
                read = self.parts.get(call.args[0], ())
                yield i, {0: read, 1: own} if operator_name(call) == "relax.matmul" else {0: own, 1: read}
            elif operator_name(call) in ("relax.nn.conv2d", "relax.nn.prelu"):  # of each channel for itself
                yield i, {0: own}
            elif axis >= 0 and constant.shape[axis] > 1:
                yield i, {axis: own}

    def _read(self, var: relax.Var, value: relax.Expr) -> None:
        read = [arg for arg in _arguments(value) if self.constant(arg) is None]
        known = bool(read) and _has_channels(value) and all(self.parts.get(arg) for arg in read)
        found = self._of(var, value, read) if known else None
        if found is None or sum(map(self.extent, found)) != _channels(value):  # constants may be among what is joined
            for arg in read:
                self._freeze(self.parts.get(arg, ()))
            found = self._fresh(var)
            self._freeze(found)
        self.parts[var] = found

    def _of(self, var: relax.Var, value: relax.Expr, read: Sequence[relax.Var]) -> Parts | None:
        """The parts of a result; None where they don't follow from those of its inputs."""
        name, inputs = operator_name(value), [self.parts[arg] for arg in read]
        size = _channels(value)
        if makes(value) and read == [value.args[0]]:
            weight = self.constant(value.args[1])
            if weight is None or weight.dtype != np.int8 or stored_range(self.values, read[0]) is None:
                self._freeze(inputs[0])  # sums of floats depend on their order
            return self._fresh(value)
        if name == "relax.nn.conv2d" and len(read) == 1 and shape(value.args[1])[1] == 1:
            return _repeated(inputs[0], size // _channels(read[0]))
        if name == "relax.concat" and int(value.attrs.axis) % len(shape(value)) == _axis(len(shape(value))):
            return tuple(part for parts in inputs for part in parts)
        if name == "relax.reshape":
            self._source[var] = self._source.get(read[0], read[0])
            return self._reshaped(shape(read[0]), shape(value), inputs[0])
        if name == "relax.nn.layer_norm" and is_of_rows(value) and self._is_of_integers(var, read):
            return inputs[0] if len(shape(value)) < 4 else None
        if name in _PAIR and len(shape(value.args[1])) > 0:
            return None
        if name in _OF_PIXELS | _PAIR or (name == "relax.mean" and _is_of_pixels(value)):
            return inputs[0]
        return self._of_elements(var, value, read)

    def _of_elements(self, var: relax.Var, value: relax.Expr, read: Sequence[relax.Var]) -> Parts | None:
        """Those of a function of each element, which is exact, or a table of integers."""
        name, size = operator_name(value), _channels(value)
        if name not in FUNCTIONS and name not in _EXACT:
            return None
        rank = len(shape(value))
        if name == "relax.nn.prelu" and int(value.attrs.axis) % rank != _axis(rank):
            return None
        sources = {self._source.get(arg, arg) for arg in read}
        if len(sources) == 1 and operator_name(self.values.get(next(iter(sources)))) == "relax.dequantize":
            self._source[var] = sources.pop()
        elif name not in _EXACT:
            return None
        alike = all(len(shape(arg)) == len(shape(value)) and _channels(arg) == size for arg in read)
        return self._coupled([self.parts[arg] for arg in read]) if alike else None

    def _reshaped(self, before: tuple[int, ...], after: tuple[int, ...], parts: Parts) -> Parts | None:
        if max(len(before), len(after)) < 4:
            return parts if before[-1] == after[-1] else None
        flat = len(after) == 2 and before[0] == after[0]
        return _repeated(parts, after[1] // before[1]) if flat else None  # channels stand first

    def _is_of_integers(self, var: relax.Var, read: Sequence[relax.Var]) -> bool:
        """Whether a tensor is made of integers, and nothing but integers."""
        quantized = var in self._quantized and self._users[var] == 1
        return quantized and operator_name(self.values.get(read[0])) == "relax.dequantize"

    def _coupled(self, inputs: Sequence[Parts]) -> Parts | None:
        first, *others = inputs
        for other in others:
            if [(self.sizes[p.array], p.repeat) for p in first] != [(self.sizes[p.array], p.repeat) for p in other]:
                return None
            for a, b in zip(first, other, strict=True):
                self._parent[self._root(b.array)] = self._root(a.array)
        return first

    def _fresh(self, expr: relax.Expr) -> Parts:
        if not _has_channels(expr):
            return ()
        self.sizes.append(_channels(expr))
        self._parent.append(len(self._parent))
        return (Part(len(self._parent) - 1),)

    def _freeze(self, parts: Parts) -> None:
        self.frozen.update(part.array for part in parts)

    def _now(self, part: Part) -> Part:
        return Part(self._root(part.array), part.repeat)

    def _root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = i = self._parent[self._parent[i]]
        return i


def makes(value: relax.Expr) -> bool:
    """Whether a call is of a layer that sums up all channels."""
    if operator_name(value) == "relax.nn.conv2d":
        return int(value.attrs.groups) == 1
    return operator_name(value) == "relax.matmul" and len(shape(value.args[0])) == len(shape(value.args[1])) == 2


def _bindings(mod: tvm.IRModule) -> Iterator[tuple[relax.Var, relax.Expr]]:
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            yield binding.var, binding.value


def stored_range(values: Mapping[relax.Var, relax.Expr], expr: relax.Expr) -> tuple[int, int] | None:
    """The range of the integers that a tensor consists of, less their zero point; None for a float one."""
    call = values.get(expr, expr)
    name = operator_name(call)
    if name == "relax.dequantize":
        return _range(values.get(call.args[0]), array(call.args[2]))
    if name not in _SAME_INTEGERS:
        return None
    fields = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else call.args[:1]
    ranges = [stored_range(values, field) for field in fields]
    known = [each for each in ranges if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if len(known) == len(ranges) else None


_SAME_INTEGERS = {"relax.nn.max_pool2d", "relax.reshape", "relax.concat"}


def _range(integers: relax.Expr | None, zero: np.ndarray | None) -> tuple[int, int] | None:
    if zero is None or zero.size > 1 or not isinstance(integers, relax.Call):
        return None
    if operator_name(integers) == "relax.clip":
        low, high = (int(arg.value) for arg in integers.args[1:])
    elif operator_name(integers) == "relax.quantize":
        info = np.iinfo(str(integers.attrs.out_dtype))
        low, high = int(info.min), int(info.max)
    else:
        return None
    return low - int(zero.item()), high - int(zero.item())


def _has_channels(expr: relax.Expr) -> bool:
    return isinstance(expr.ty, relax.TensorType) and len(shape(expr)) in (2, 3, 4)


def _axis(rank: int) -> int:
    """Which axis channels are."""
    return 1 if rank == 4 else rank - 1


def _channels(expr: relax.Expr) -> int:
    return shape(expr)[_axis(len(shape(expr)))]


def _arguments(value: relax.Expr) -> list[relax.Var]:
    """The variables that a binding reads, in order."""
    args = value.args if isinstance(value, relax.Call) else [value]
    fields = [field for arg in args for field in (arg.fields if isinstance(arg, relax.Tuple) else [arg])]
    direct = [field for field in fields if isinstance(field, relax.Var)]
    return direct + sorted(variables(value) - set(direct), key=lambda var: str(var.name))


def _is_constant(value: relax.Expr) -> bool:
    return operator_name(value) == "relax.dequantize" and array(value.args[0]) is not None


def _is_of_pixels(call: relax.Call) -> bool:
    return [int(axis) % 4 for axis in call.attrs.axis or ()] == [2, 3] and bool(call.attrs.keepdims)


def _repeated(parts: Parts, times: int) -> Parts:
    return tuple(Part(part.array, part.repeat * times) for part in parts)
