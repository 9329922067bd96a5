"""Which channels of an annotated module are made and read in one order: arrays of them, from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from ..graph.pointwise import FUNCTIONS
from ..graph.rewrite import array, operator_name, shape, variables

_SAME = {
    "relax.nn.max_pool2d",
    "relax.nn.avg_pool2d",
    "relax.mean",
    "relax.image.resize2d",
    "relax.clip",
    "relax.astype",
    "relax.nn.relu",
    "relax.quantize",
    "relax.dequantize",
    *FUNCTIONS,
}


@dataclass(frozen=True)
class Part:
    """Some channels of a tensor.

    Attributes
    ----------
    array : int
        See `ChannelArrays`.
    repeat : int
        How many elements of axis 1, side by side, each channel has: pixels that were flattened, or what a depthwise
        convolution makes of it.
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
        What axis 1 of each tensor consists of. An array comes but once, or it is frozen.
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
        self.values = dict(_bindings(mod))
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
        """How many elements of axis 1 it has."""
        return self.sizes[part.array] * part.repeat

    def order(self, parts: Parts, orders: Mapping[int, np.ndarray]) -> np.ndarray:
        """Of elements along axis 1: which of them is to stand at each place, given the order of some arrays."""
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
            axis = 1 - (len(shape(call)) - constant.ndim)
            if makes(call):
                read = self.parts.get(call.args[0], ())
                yield i, {0: read, 1: own} if operator_name(call) == "relax.matmul" else {0: own, 1: read}
            elif operator_name(call) in ("relax.nn.conv2d", "relax.nn.prelu"):  # of each channel for itself
                yield i, {0: own}
            elif axis >= 0 and constant.shape[axis] > 1:
                yield i, {axis: own}

    def _read(self, var: relax.Var, value: relax.Expr) -> None:
        read = [arg for arg in _arguments(value) if self.constant(arg) is None]
        inputs = [self.parts.get(arg, ()) for arg in read]
        found = self._of(value, read, inputs) if all(inputs) else None
        if found is None:
            for parts in inputs:
                self._freeze(parts)
            found = self._fresh(var)
            self._freeze(found)
        self.parts[var] = found

    def _of(self, value: relax.Expr, read: Sequence[relax.Var], inputs: Sequence[Parts]) -> Parts | None:
        """The parts of a result; None where they don't follow from those of its inputs."""
        name = operator_name(value)
        if makes(value) and read == [value.args[0]]:
            return self._fresh(value)
        if name == "relax.nn.conv2d" and len(read) == 1 and shape(value.args[1])[1] == 1:
            return _repeated(inputs[0], shape(value)[1] // shape(read[0])[1])
        if name == "relax.concat" and int(value.attrs.axis) % len(shape(value)) == 1:
            return tuple(part for parts in inputs for part in parts)
        if name == "relax.reshape" and len(shape(value)) == 2 and shape(value)[0] == shape(read[0])[0]:
            return _repeated(inputs[0], shape(value)[1] // shape(read[0])[1])  # channels stand first
        if name in _SAME and self._is_elementwise(value, read):
            same = inputs[0] if len(read) == 1 else self._coupled(inputs)
            return same if name != "relax.mean" or _is_of_pixels(value) else None
        return None

    def _is_elementwise(self, call: relax.Call, read: Sequence[relax.Var]) -> bool:
        """Whether axis 1 of the result is that of all that it reads, or one number for all."""
        result = shape(call)
        if len(result) not in (2, 4) or not read:
            return False
        if operator_name(call) in ("relax.quantize", "relax.dequantize") and len(shape(call.args[1])) > 0:
            return False
        return all(len(shape(arg)) == len(result) and shape(arg)[1] == result[1] for arg in read)

    def _coupled(self, inputs: Sequence[Parts]) -> Parts | None:
        first, *others = inputs
        for other in others:
            if [(self.sizes[p.array], p.repeat) for p in first] != [(self.sizes[p.array], p.repeat) for p in other]:
                return None
            for a, b in zip(first, other, strict=True):
                self._parent[self._root(b.array)] = self._root(a.array)
        return first

    def _fresh(self, expr: relax.Expr) -> Parts:
        if not isinstance(expr.ty, relax.TensorType) or len(shape(expr)) not in (2, 4):
            return ()
        self.sizes.append(shape(expr)[1])
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
